//! Column names a user gives to the parts of a pair: `--map chosen=better,rejected=worse,prompt=question`; and columns
//! that look like such a part and are none: `--map ignore=history`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::error::{Hint, nearest};

/// A part of a pair that can be read from a column of any name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The prompt: a string or messages.
    Prompt,
    /// The preferred completion.
    Chosen,
    /// The other completion.
    Rejected,
    /// A system turn to put before the prompt.
    System,
}

impl Role {
    /// Every role, in the order of a pair.
    pub const ALL: [Self; 4] = [Self::Prompt, Self::Chosen, Self::Rejected, Self::System];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a column is mapped to that is no part of a pair, whatever its name says.
const IGNORE: &str = "ignore";

/// Which column plays which role, and which play none; empty where the usual names are used.
///
/// # Examples
/// ```
/// use piref::data::{ColumnMap, Role};
///
/// let map: ColumnMap = "chosen=response_j, rejected=response_k".parse()?;
/// assert_eq!(map.column(Role::Chosen), Some("response_j"));
/// assert_eq!(map.column(Role::Prompt), None);
/// # Ok::<(), piref::data::ParseColumnMapError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnMap {
    roles: BTreeMap<Role, String>,
    ignored: BTreeSet<String>,
    is_lenient: bool,
}

impl ColumnMap {
    /// Every word that may stand before a column.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Role::ALL.into_iter().map(Role::name).chain([IGNORE])
    }

    /// The column that was named for a role.
    pub fn column(&self, role: Role) -> Option<&str> {
        self.roles.get(&role).map(String::as_str)
    }

    /// Whether nothing was named.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.ignored.is_empty()
    }

    /// Whether no column was given a role.
    pub(super) fn has_no_roles(&self) -> bool {
        self.roles.is_empty()
    }

    /// Whether a column is no part of a pair: it is passed on like any other.
    pub(super) fn ignores(&self, column: &str) -> bool {
        self.is_lenient || self.ignored.contains(column)
    }

    /// The same where only the prompts matter: whatever else belongs to what is scored may be left out.
    #[must_use]
    pub fn lenient(self) -> Self {
        Self { is_lenient: true, ..self }
    }

    /// Every column that was given a role.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.roles.values().map(String::as_str)
    }
}

impl fmt::Display for ColumnMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles = self.roles.iter().map(|(role, column)| (role.name(), column));
        let ignored = self.ignored.iter().map(|column| (IGNORE, column));
        for (place, (role, column)) in roles.chain(ignored).enumerate() {
            let separator = if place == 0 { "" } else { "," };
            write!(f, "{separator}{role}={column}")?;
        }
        Ok(())
    }
}

/// A column map in text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseColumnMapError {
    /// An entry without `=`, or with nothing on one side of it.
    #[error("expected `role=column`, found `{found}`")]
    Entry {
        /// The entry.
        found: String,
    },
    /// A role there is not.
    #[error("unknown role `{found}`: expected `prompt`, `chosen`, `rejected`, `system` or `ignore`")]
    Role {
        /// As it was written.
        found: String,
    },
    /// A role named twice.
    #[error("role `{role}` is mapped twice")]
    RoleTwice {
        /// The role.
        role: Role,
    },
    /// A column that plays two roles.
    #[error("column `{column}` is mapped to two roles")]
    ColumnTwice {
        /// The column.
        column: String,
    },
}

impl Hint for ParseColumnMapError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Role { found } => nearest(found, ColumnMap::words()).map(|role| format!("did you mean `{role}`?")),
            Self::Entry { .. } => Some("for example `--map prompt=question,chosen=better,rejected=worse`".into()),
            Self::RoleTwice { .. } | Self::ColumnTwice { .. } => None,
        }
    }
}

impl FromStr for ColumnMap {
    type Err = ParseColumnMapError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut columns = BTreeMap::new();
        let mut ignored = BTreeSet::new();
        for entry in text.split(',') {
            let (role, column) = match entry.split_once('=').map(|(role, column)| (role.trim(), column.trim())) {
                Some((role, column)) if !role.is_empty() && !column.is_empty() => (role, column),
                _ => return Err(ParseColumnMapError::Entry { found: entry.trim().to_owned() }),
            };
            if ignored.contains(column) || columns.values().any(|taken| taken == column) {
                return Err(ParseColumnMapError::ColumnTwice { column: column.to_owned() });
            }
            if role == IGNORE {
                ignored.insert(column.to_owned());
                continue;
            }
            let Some(role) = Role::ALL.into_iter().find(|known| known.name() == role) else {
                return Err(ParseColumnMapError::Role { found: role.to_owned() });
            };
            if columns.insert(role, column.to_owned()).is_some() {
                return Err(ParseColumnMapError::RoleTwice { role });
            }
        }
        Ok(Self { roles: columns, ignored, is_lenient: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_reads_back_as_it_is_written() {
        let text = "prompt=question,chosen=response_j,rejected=response_k,system=persona,ignore=history,ignore=images";
        let map = text.parse::<ColumnMap>().unwrap();
        assert_eq!(map.to_string(), text);
        assert!(map.ignores("images") && !map.ignores("persona"));
        assert!("ignore=history".parse::<ColumnMap>().unwrap().has_no_roles());
    }

    #[test]
    fn each_slip_is_named() {
        let check = |text: &str, want: &str| {
            assert_eq!(text.parse::<ColumnMap>().unwrap_err().to_string(), want, "{text}");
        };
        check("", "expected `role=column`, found ``");
        check("chosen", "expected `role=column`, found `chosen`");
        check("chosen=", "expected `role=column`, found `chosen=`");
        check("chosne=a", "unknown role `chosne`: expected `prompt`, `chosen`, `rejected`, `system` or `ignore`");
        check("chosen=a,chosen=b", "role `chosen` is mapped twice");
        check("chosen=a,rejected=a", "column `a` is mapped to two roles");
        check("system=a,ignore=a", "column `a` is mapped to two roles");
        let hint = "chosne=a".parse::<ColumnMap>().unwrap_err().hint();
        assert_eq!(hint.as_deref(), Some("did you mean `chosen`?"));
    }
}
