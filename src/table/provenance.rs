//! What a table was made from and how: the conditions under which its numbers hold.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, ModelIdentity};
use crate::table::TableError;

/// Text of an optional footer entry that has no value.
const NONE: &str = "none";

/// The entry that parts of earlier versions do not have: none of their references had an adapter.
const ADAPTER: &str = "piref.model.adapter_digest";

/// Everything that decides the numbers of a table, and where its rows come from.
///
/// It stands in the manifest as JSON and in the footer of every part as `piref.*` entries, so that a part which
/// has strayed from its folder still explains itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Schema version of the table: `reference.v1`.
    pub schema: String,
    /// Version of piref that wrote it.
    pub crate_version: String,
    /// The reference model.
    pub model: ModelProvenance,
    /// Digest of the tokenizer.
    pub tokenizer_digest: Digest,
    /// The chat template, where one was rendered.
    pub chat_template: Option<TemplateProvenance>,
    /// Number format of the forward pass: `f32`, `bf16`.
    pub dtype: String,
    /// Name of the code path that computed the log-probs: it changes when their last bits do.
    pub kernel: String,
    /// Longest sequence scored, in tokens; `None` if nothing was cut.
    pub max_length: Option<u64>,
    /// Which end of a sequence that is too long was kept.
    pub truncation_mode: String,
    /// When a completion gets an end token.
    pub eos_rule: String,
    /// How the boundary between prompt and completion was found.
    pub boundary_rule: String,
    /// The data files, in the order given.
    pub sources: Vec<SourceProvenance>,
}

/// The reference model of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelProvenance {
    /// As the user gave it: folder, file or name.
    pub path: String,
    /// Family of the model: `llama`, …
    pub architecture: String,
    /// Digest of the weights, without an adapter.
    pub weights_digest: Digest,
    /// Digest of the configuration.
    pub config_digest: Digest,
    /// Digest of the adapter over it, where there is one; tables of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_digest: Option<Digest>,
    /// Digests of what they mean, by which models are compared where both have them; `None` in a table of a version that
    /// knew files alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ModelIdentity>,
}

impl ModelProvenance {
    /// By what they mean, or by the files where nothing else is known.
    pub fn meaning(&self) -> ModelIdentity {
        self.identity.unwrap_or(ModelIdentity { weights: self.weights_digest, config: self.config_digest })
    }

    /// In what the weights, the configuration and the adapter of another model differ: by what they mean where both say so, or else by
    /// the digests of their files.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let fields = match (self.identity, other.identity) {
            (Some(ours), Some(theirs)) => [
                ("model.weights_identity", ours.weights, theirs.weights),
                ("model.config_identity", ours.config, theirs.config),
            ],
            _ => [
                ("model.weights_digest", self.weights_digest, other.weights_digest),
                ("model.config_digest", self.config_digest, other.config_digest),
            ],
        };
        let text = |digest: Option<Digest>| digest.map_or_else(|| NONE.into(), |digest| digest.to_string());
        let adapter = ("model.adapter_digest", text(self.adapter_digest), text(other.adapter_digest));
        let fields = fields.map(|(field, expected, found)| (field, expected.to_string(), found.to_string()));
        let different = fields.into_iter().chain([adapter]).filter(|(_, expected, found)| expected != found);
        different.map(|(field, expected, found)| Difference { field, expected, found }).collect()
    }
}

/// A chat template and the one thing it may depend on besides the messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateProvenance {
    /// Digest of the template's text.
    pub digest: Digest,
    /// Date it was rendered for (`strftime_now`), `YYYY-MM-DD`.
    pub date: String,
}

/// One data file of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceProvenance {
    /// As the user gave it.
    pub path: String,
    /// Pair format it was read as.
    pub format: String,
    /// Rows in it, rejected ones included.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Digest of the file.
    pub digest: Digest,
}

/// The first condition in which two tables differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Footer key of the field, without `piref.`.
    pub field: &'static str,
    /// Value on our side.
    pub expected: String,
    /// Value on the other side.
    pub found: String,
}

/// Footer entries of a model that two tables are compared by together: see [`ModelProvenance::differences`].
const OF_MODEL: &[&str] = &[
    "piref.model.weights_digest",
    "piref.model.config_digest",
    "piref.model.weights_identity",
    "piref.model.config_identity",
];

/// Footer entries that say where a table comes from and not what its numbers are.
const NOT_SCORING: &[&str] = &["piref.crate_version", "piref.model.path", "piref.sources"];

impl Provenance {
    /// The footer entries, in the order of the contract; every key is there in every part, but for those of the identity
    /// of the model in parts of earlier versions.
    pub fn to_footer(&self) -> Vec<(&'static str, String)> {
        let template = |text: fn(&TemplateProvenance) -> String| self.chat_template.as_ref().map_or(NONE.into(), text);
        let identity =
            |digest: fn(ModelIdentity) -> Digest| self.model.identity.map_or(NONE.into(), |of| digest(of).to_string());
        vec![
            ("piref.schema", self.schema.clone()),
            ("piref.crate_version", self.crate_version.clone()),
            ("piref.model.path", self.model.path.clone()),
            ("piref.model.architecture", self.model.architecture.clone()),
            ("piref.model.weights_digest", self.model.weights_digest.to_string()),
            ("piref.model.config_digest", self.model.config_digest.to_string()),
            (ADAPTER, self.model.adapter_digest.map_or(NONE.into(), |digest| digest.to_string())),
            ("piref.model.weights_identity", identity(|identity| identity.weights)),
            ("piref.model.config_identity", identity(|identity| identity.config)),
            ("piref.tokenizer_digest", self.tokenizer_digest.to_string()),
            ("piref.chat_template.digest", template(|template| template.digest.to_string())),
            ("piref.chat_template.date", template(|template| template.date.clone())),
            ("piref.dtype", self.dtype.clone()),
            ("piref.kernel", self.kernel.clone()),
            ("piref.max_length", self.max_length.map_or(NONE.into(), |tokens| tokens.to_string())),
            ("piref.truncation_mode", self.truncation_mode.clone()),
            ("piref.eos_rule", self.eos_rule.clone()),
            ("piref.boundary_rule", self.boundary_rule.clone()),
            ("piref.sources", serde_json::json!(self.sources).to_string()),
        ]
    }

    /// Reads the footer entries of the part at `path`; `value` looks a key up.
    ///
    /// # Errors
    /// If an entry is missing or cannot be read.
    pub fn from_footer<'a>(path: &Path, value: impl Fn(&str) -> Option<&'a str>) -> Result<Self, TableError> {
        let wrong = |key, found: &str| TableError::Footer { path: path.to_owned(), key, found: format!("`{found}`") };
        let text = |key| {
            value(key).ok_or_else(|| TableError::Footer { path: path.to_owned(), key, found: "no such entry".into() })
        };
        let owned = |key| text(key).map(str::to_owned);
        let digest = |key| {
            let found = text(key)?;
            found.parse::<Digest>().map_err(|_| wrong(key, found))
        };
        let is_set = |key: &str| value(key).is_some_and(|found| found != NONE);
        let identity = if is_set("piref.model.weights_identity") || is_set("piref.model.config_identity") {
            let weights = digest("piref.model.weights_identity")?;
            Some(ModelIdentity { weights, config: digest("piref.model.config_identity")? })
        } else {
            None
        };

        Ok(Self {
            schema: owned("piref.schema")?,
            crate_version: owned("piref.crate_version")?,
            model: ModelProvenance {
                path: owned("piref.model.path")?,
                architecture: owned("piref.model.architecture")?,
                weights_digest: digest("piref.model.weights_digest")?,
                config_digest: digest("piref.model.config_digest")?,
                adapter_digest: match value(ADAPTER) {
                    None | Some(NONE) => None,
                    Some(found) => Some(found.parse().map_err(|_| wrong(ADAPTER, found))?),
                },
                identity,
            },
            tokenizer_digest: digest("piref.tokenizer_digest")?,
            chat_template: match text("piref.chat_template.digest")? {
                NONE => None,
                _ => Some(TemplateProvenance {
                    digest: digest("piref.chat_template.digest")?,
                    date: owned("piref.chat_template.date")?,
                }),
            },
            dtype: owned("piref.dtype")?,
            kernel: owned("piref.kernel")?,
            max_length: match text("piref.max_length")? {
                NONE => None,
                found => Some(found.parse().map_err(|_| wrong("piref.max_length", found))?),
            },
            truncation_mode: owned("piref.truncation_mode")?,
            eos_rule: owned("piref.eos_rule")?,
            boundary_rule: owned("piref.boundary_rule")?,
            sources: {
                let found = text("piref.sources")?;
                serde_json::from_str(found).map_err(|_| wrong("piref.sources", found))?
            },
        })
    }

    /// The first condition of scoring in which `other` differs: rows of the two must not stand in one table.
    ///
    /// Left out are the version of piref, the place of the model and the data files: the first two do not change a
    /// number, and a table may grow by a data file (compare [`sources`](Self::sources) for that).
    pub fn first_difference(&self, other: &Self) -> Option<Difference> {
        let is_of_scoring = |difference: &Difference| {
            NOT_SCORING.iter().all(|key| key.trim_start_matches("piref.") != difference.field)
        };
        self.differences(other).into_iter().find(is_of_scoring)
    }

    /// Every field in which `other` differs, those included that change no number. The same model in other files, or saved
    /// again, is no difference.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut of_model = Some(self.model.differences(&other.model));
        let mut found = Vec::new();
        for entry in self.differing(other) {
            if OF_MODEL.contains(&entry.0) {
                found.extend(of_model.take().unwrap_or_default());
            } else {
                found.push(self.difference(other, entry));
            }
        }
        found
    }

    /// Every footer entry in which `other` differs, those included that say the same of a model in other words: the files of
    /// one table were written with one provenance.
    pub fn contradictions(&self, other: &Self) -> Vec<Difference> {
        self.differing(other).map(|entry| self.difference(other, entry)).collect()
    }

    /// The footer entries that are not equal: key, ours, theirs.
    fn differing(&self, other: &Self) -> impl Iterator<Item = (&'static str, String, String)> + use<> {
        let pairs = self.to_footer().into_iter().zip(other.to_footer());
        pairs.filter(|((_, ours), (_, theirs))| ours != theirs).map(|((key, ours), (_, theirs))| (key, ours, theirs))
    }

    fn difference(&self, other: &Self, (key, expected, found): (&'static str, String, String)) -> Difference {
        let field = key.trim_start_matches("piref.");
        if field != "sources" {
            return Difference { field, expected, found };
        }
        // The first file that differs, and in what, says more than two whole lists.
        let index = self.sources.iter().zip(&other.sources).take_while(|(ours, theirs)| ours == theirs).count();
        let [ours, theirs] =
            [self, other].map(|provenance| provenance.sources.get(index).map(SourceProvenance::members));
        let member = (0..5).find(|&at| ours.as_ref().map(|our| &our[at]) != theirs.as_ref().map(|their| &their[at]));
        let text = |source: Option<[(&str, String); 5]>| match (source, member) {
            (Some([(_, path), ..]), None | Some(0)) => path,
            (Some(members), Some(at)) => format!("{}: {} {}", members[0].1, members[at].0, members[at].1),
            (None, _) => "no further file".into(),
        };
        Difference { field, expected: text(ours), found: text(theirs) }
    }
}

impl SourceProvenance {
    fn members(&self) -> [(&'static str, String); 5] {
        [
            ("path", self.path.clone()),
            ("format", self.format.clone()),
            ("rows", self.rows.to_string()),
            ("bytes", self.bytes.to_string()),
            ("digest", self.digest.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::table::tests::provenance;

    type Change = fn(&mut Provenance, Digest);

    fn footer(provenance: &Provenance) -> BTreeMap<&'static str, String> {
        provenance.to_footer().into_iter().collect()
    }

    fn parse(footer: &BTreeMap<&'static str, String>) -> Result<Provenance, TableError> {
        Provenance::from_footer(Path::new("part.parquet"), |key| footer.get(key).map(String::as_str))
    }

    #[test]
    fn footer_and_json_round_trip() {
        let with_template = provenance();
        let without_options = Provenance { chat_template: None, max_length: None, ..provenance() };
        for provenance in [with_template, without_options] {
            assert_eq!(parse(&footer(&provenance)).unwrap(), provenance);
            let json = serde_json::to_string(&provenance).unwrap();
            assert_eq!(serde_json::from_str::<Provenance>(&json).unwrap(), provenance);
        }
    }

    #[test]
    fn each_missing_footer_entry_is_named() {
        let full = footer(&provenance());
        for missing in full.keys().filter(|key| **key != ADAPTER && !key.ends_with("_identity")) {
            let mut footer = full.clone();
            footer.remove(missing);
            let error = parse(&footer).unwrap_err().to_string();
            assert!(error.contains(missing) && error.contains("no such entry"), "{missing}: {error}");
        }
    }

    #[test]
    fn a_part_of_an_earlier_version_has_no_adapter() {
        let mut earlier = footer(&provenance());
        earlier.remove(ADAPTER);
        assert_eq!(parse(&earlier).unwrap(), provenance());
    }

    #[test]
    fn each_condition_of_scoring_is_compared_and_named() {
        let ours = provenance();
        let other = Digest::of(b"other");
        let changes: [(&str, Change); 14] = [
            ("schema", |p, _| p.schema = "reference.v2".into()),
            ("model.architecture", |p, _| p.model.architecture = "gemma3".into()),
            ("model.weights_identity", |p, other| p.model.identity.as_mut().unwrap().weights = other),
            ("model.config_identity", |p, other| p.model.identity.as_mut().unwrap().config = other),
            ("model.adapter_digest", |p, other| p.model.adapter_digest = Some(other)),
            ("tokenizer_digest", |p, other| p.tokenizer_digest = other),
            ("chat_template.digest", |p, _| p.chat_template = None),
            ("chat_template.date", |p, _| p.chat_template.as_mut().unwrap().date = "1999-12-31".into()),
            ("dtype", |p, _| p.dtype = "bf16".into()),
            ("kernel", |p, _| p.kernel = "other".into()),
            ("max_length", |p, _| p.max_length = None),
            ("truncation_mode", |p, _| p.truncation_mode = "keep_end".into()),
            ("eos_rule", |p, _| p.eos_rule = "never".into()),
            ("boundary_rule", |p, _| p.boundary_rule = "separate".into()),
        ];
        for (field, change) in changes {
            let mut changed = provenance();
            change(&mut changed, other);
            assert_eq!(ours.first_difference(&changed).map(|difference| difference.field), Some(field));
        }
        // Those of the files of the model are compared where nothing says what they mean.
        let n_fields = changes.len() + NOT_SCORING.len() + 2;
        assert_eq!(n_fields, ours.to_footer().len(), "a new field is compared or listed");
    }

    #[test]
    fn the_same_model_in_other_files_is_no_difference_and_an_old_table_is_compared_by_its_files() {
        let ours = provenance();
        let mut resaved = provenance();
        resaved.model.weights_digest = Digest::of(b"in shards");
        resaved.model.config_digest = Digest::of(b"by another version");
        assert_eq!(ours.differences(&resaved), []);
        assert_eq!(ours.contradictions(&resaved).len(), 2, "in one table, it is damage");

        let without = |mut provenance: Provenance| {
            provenance.model.identity = None;
            provenance
        };
        let old = without(provenance());
        assert_eq!(parse(&footer(&old)).unwrap(), old);
        let mut text = footer(&old);
        text.retain(|key, _| !key.ends_with("_identity"));
        assert_eq!(parse(&text).unwrap(), old, "as it was written then");
        assert!(!serde_json::to_string(&old).unwrap().contains("identity"));
        assert_eq!((ours.differences(&old), old.differences(&ours)), (vec![], vec![]));
        let fields = |of: &Provenance, other: &Provenance| -> Vec<&str> {
            of.differences(other).iter().map(|difference| difference.field).collect()
        };
        for (one, other) in [(&old, &resaved), (&resaved, &old), (&old, &without(resaved.clone()))] {
            assert_eq!(fields(one, other), ["model.weights_digest", "model.config_digest"]);
        }
    }

    #[test]
    fn a_moved_model_and_another_data_file_are_no_difference() {
        let mut moved = provenance();
        moved.model.path = "/elsewhere".into();
        moved.crate_version = "9.9.9".into();
        moved.sources.clear();
        assert_eq!(provenance().first_difference(&moved), None);

        let fields: Vec<&str> = provenance().differences(&moved).iter().map(|difference| difference.field).collect();
        assert_eq!(fields, ["crate_version", "model.path", "sources"]);
        let sources = provenance().differences(&moved).pop().unwrap();
        assert!(sources.expected.contains("train.jsonl"), "{}", sources.expected);
        assert_eq!(sources.found, "no further file");

        moved = provenance();
        moved.sources[0].rows = 7;
        let sources = provenance().differences(&moved).pop().unwrap();
        assert_eq!((&*sources.expected, &*sources.found), ("train.jsonl: rows 5", "train.jsonl: rows 7"));
    }
}
