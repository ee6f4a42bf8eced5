//! Names of objectives: those a run can have, and those it cannot, with the reason.

use clap::builder::{NonEmptyStringValueParser, PossibleValue, TypedValueParser};
use serde::{Deserialize, Serialize};

use super::known;
use super::settings::words;

/// Name of an objective. TRL's, where TRL has it; `wpo` is Open Instruct's, `rpo_…` are NeMo-Aligner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is explained in the table of the module `loss`")]
pub enum LossType {
    Sigmoid,
    Hinge,
    Ipo,
    IpoSum,
    ExoPair,
    NcaPair,
    Robust,
    BcoPair,
    SppoHard,
    ApoZero,
    ApoDown,
    Discopop,
    Sft,
    SigmoidNorm,
    Dpop,
    Simpo,
    Cpo,
    Orpo,
    Alphapo,
    Slic,
    PreferredFt,
    Unlikelihood,
    Aot,
    AotUnpaired,
    DrDpo,
    Wpo,
    RpoSq,
    RpoBwdKl,
    RpoFwdKl,
}

/// Known names that no run can have, and why.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["tdpo", "tdpo1", "tdpo2"],
        "it needs the reference's whole next-token distribution at each position, and a table holds the log-prob of the token that is there",
    ),
    (&["tpo", "tpo-l"], "it needs a third completion, and a table has pairs"),
    (
        &["kto", "kto_pair", "apo_zero_unpaired"],
        "it is of single answers or of mismatched pairs, and a table has pairs",
    ),
    (
        &["rpo"],
        "TRL's `rpo_alpha=A` is two objectives, `--loss-type sigmoid --loss-type sft --loss-weights 1,A`; NeMo-Aligner's are \
         `rpo_sq`, `rpo_bwd_kl` and `rpo_fwd_kl`",
    ),
    (&["aot_pair"], "TRL before 1.0 called `aot_pair` what is `aot` now, and `aot` what is `aot_unpaired`"),
    (&["dpo"], "the loss of the DPO paper is `sigmoid`"),
    (&["cdpo"], "it is `sigmoid` with `--label-smoothing`"),
    (&["bco"], "it is `bco_pair`"),
    (&["exo"], "it is `exo_pair`"),
    (&["nca"], "it is `nca_pair`"),
    (&["sppo"], "it is `sppo_hard`"),
];

impl LossType {
    /// The word it is read from.
    pub(super) fn name(self) -> &'static str {
        known::words::<Self>().get(self as usize).copied().unwrap_or_default()
    }

    pub(super) fn read(word: &str) -> Result<Self, String> {
        match refusal(word) {
            Some(reason) => Err(reason),
            None => known::word(word).map_err(|error| error.to_string()),
        }
    }
}

/// Why a known name cannot be trained with.
fn refusal(word: &str) -> Option<String> {
    let (_, reason) = REFUSED.iter().find(|(words, _)| words.contains(&word))?;
    Some(format!("`{word}` cannot be trained with: {reason}"))
}

/// A flag with the words of [`LossType`], which knows why others are refused.
#[derive(Clone)]
pub(super) struct LossTypeParser;

impl TypedValueParser for LossTypeParser {
    type Value = LossType;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<LossType, clap::Error> {
        match value.to_str().and_then(refusal) {
            Some(reason) => NonEmptyStringValueParser::new()
                .try_map(move |_| Err::<LossType, String>(reason.clone()))
                .parse_ref(command, argument, value),
            None => words::<LossType>().parse_ref(command, argument, value),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(known::words::<LossType>().iter().map(PossibleValue::new)))
    }
}

/// One loss type, or a list of them: for serde's `with`.
pub(super) mod one_or_more {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::LossType;

    struct OneOrMore(Vec<LossType>);

    #[expect(clippy::ref_option, reason = "serde hands over the field by reference")]
    pub(in crate::pipeline) fn serialize<S: Serializer>(
        loss_types: &Option<Vec<LossType>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match loss_types.as_deref() {
            None => serializer.serialize_none(),
            Some([one]) => one.serialize(serializer),
            Some(more) => more.serialize(serializer),
        }
    }

    pub(in crate::pipeline) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<LossType>>, D::Error> {
        Ok(Option::<OneOrMore>::deserialize(deserializer)?.map(|found| found.0))
    }

    impl<'de> Deserialize<'de> for OneOrMore {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Words)
        }
    }

    struct Words;

    impl<'de> Visitor<'de> for Words {
        type Value = OneOrMore;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a loss type or a list of them")
        }

        fn visit_str<E: Error>(self, word: &str) -> Result<OneOrMore, E> {
            LossType::read(word).map(|one| OneOrMore(vec![one])).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<OneOrMore, A::Error> {
            let mut found = Vec::new();
            while let Some(word) = words.next_element::<String>()? {
                found.push(LossType::read(&word).map_err(A::Error::custom)?);
            }
            if found.is_empty() {
                return Err(A::Error::custom("expected at least one loss type, found an empty list"));
            }
            Ok(OneOrMore(found))
        }
    }
}
