//! Nothing to link: `packaging/` holds what is installed on a real host, and this crate's tests hold it to the code.
