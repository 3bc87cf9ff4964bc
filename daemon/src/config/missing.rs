//! What a configuration of SPIRE's asks for and a program does not do.

use plastron_hcl1::{ConfigError, Located, Place};

/// Something that is asked for and not there.
#[derive(Clone, Debug)]
pub struct Absence {
    what: &'static str,
    place: Place,
}

impl Absence {
    /// `what`, if the file has the value.
    pub fn of<T>(what: &'static str, value: Option<&Located<T>>) -> Option<Self> {
        value.map(|value| Self { what, place: value.place.clone() })
    }
}

/// Refuses the first of them in the order of the file: `who has no what yet`.
pub fn refuse_first(who: &str, absences: impl IntoIterator<Item = Absence>) -> Result<(), ConfigError> {
    match absences.into_iter().min_by_key(|absence| absence.place.position) {
        Some(Absence { what, place }) => Err(place.refuse(format_args!("{who} has no {what} yet: take it out"))),
        None => Ok(()),
    }
}
