//! Which findings a page shows with their pairs.

use std::collections::{BTreeMap, BTreeSet};

use crate::table::Finding;

/// The first findings about single pairs, check by check, taken from the events of an audit as it runs.
///
/// Memory is bounded by the number of checks and of examples, whatever is found.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    n_per_check: usize,
    findings: BTreeMap<String, Vec<Finding>>,
}

impl Examples {
    /// Of each check so many.
    pub fn new(n_per_check: usize) -> Self {
        Self { n_per_check, findings: BTreeMap::new() }
    }

    /// Takes a finding, if it is about a pair and among the first of its check.
    pub fn push(&mut self, finding: &Finding) {
        if finding.pair_id.is_none() || self.n_per_check == 0 {
            return;
        }
        let findings = self.findings.entry(finding.check.clone().into_owned()).or_default();
        if findings.len() < self.n_per_check {
            findings.push(finding.clone());
        }
    }

    /// Those of a check, in the order they were found.
    pub(super) fn of(&self, check: &str) -> &[Finding] {
        self.findings.get(check).map(Vec::as_slice).unwrap_or_default()
    }

    /// The pairs they are about, each once.
    pub(super) fn pair_ids(&self) -> BTreeSet<&str> {
        self.findings.values().flatten().filter_map(|finding| finding.pair_id.as_deref()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Level;

    #[test]
    fn the_first_findings_about_pairs_are_kept() {
        let finding = |check: &'static str, pair_id: Option<&str>| Finding {
            pair_id: pair_id.map(str::to_owned),
            check: check.into(),
            level: Level::Warn,
            value: None,
            evidence: String::new(),
        };
        let mut examples = Examples::new(2);
        for (check, pair_id) in [("B1", Some("a")), ("B1", None), ("B1", Some("b")), ("B1", Some("c")), ("C1", None)] {
            examples.push(&finding(check, pair_id));
        }
        examples.push(&finding("E3", Some("a")));
        let ids: Vec<_> = examples.of("B1").iter().map(|finding| finding.pair_id.as_deref()).collect();
        assert_eq!(ids, [Some("a"), Some("b")]);
        assert_eq!(examples.of("C1"), []);
        assert_eq!(examples.pair_ids().into_iter().collect::<Vec<_>>(), ["a", "b"]);

        let mut none = Examples::new(0);
        none.push(&finding("B1", Some("a")));
        assert_eq!(none.of("B1"), []);
    }
}
