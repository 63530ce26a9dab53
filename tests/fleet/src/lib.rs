//! Nothing. The simulation is this package's one test, so that what it asks of its dependencies (a clock that tests
//! move) reaches no program.
