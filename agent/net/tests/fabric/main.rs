//! The fabric on the real kernel, in throwaway namespaces. Root, `nft`, `iptables`, `ip` and `tcpdump` are needed.

mod world;

mod changes;
mod crash;
mod dualstack;
mod endpoint;
mod groups;
mod guards;
mod hosts;
mod lan;
mod limits;
mod mending;
mod reference;
mod tampering;
mod wiring;
