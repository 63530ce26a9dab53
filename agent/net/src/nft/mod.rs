//! nftables: a small encoder for what changes all the time, and the `nft` program for what seldom does.
//!
//! Elements of sets and maps, the chains of a set of groups and the sets of members go to the kernel by [`batch`], one
//! transaction each, tens of microseconds. Whole tables ([`ruleset`]) and the rules of groups ([`groups`]) are text
//! that [`program`] feeds to `nft`, one transaction as well.

pub(crate) mod batch;
pub(crate) mod elements;
pub(crate) mod groups;
pub(crate) mod program;
mod rules;
pub(crate) mod ruleset;

pub use batch::NftError;
pub use program::ProgramError;
