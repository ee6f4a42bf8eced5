//! Which class `AutoTokenizer` of transformers 5 makes of a folder, and so whether `tokenizer.json` is taken as it stands.
//!
//! Some classes take only vocabulary, merges and post-processor from the file and build the rest themselves; which one
//! it is depends on three statements: `tokenizer_class` of `tokenizer_config.json`, the same of `config.json`, and
//! `model_type` there.

use serde_json::{Map, Value as Json};

/// What becomes of a `tokenizer.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenizerClass {
    /// `TokenizersBackend`: the file is the tokenizer.
    AsSaved,
    /// A class that builds normalizer, pre-tokenizer and decoder itself.
    Rebuilt(Rebuilt),
}

/// The classes that build a tokenizer of their own around the vocabulary of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rebuilt {
    Llama,
    CodeLlama,
    Gpt2,
    Qwen2,
    Qwen35,
    Gemma,
    GptNeoX,
    Cohere,
}

/// Why no class is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoClass {
    /// A class of transformers that nothing here builds.
    NotBuilt(String),
    /// Python code beside the model.
    OwnCode(String),
}

impl Rebuilt {
    const ALL: [Self; 8] =
        [Self::Llama, Self::CodeLlama, Self::Gpt2, Self::Qwen2, Self::Qwen35, Self::Gemma, Self::GptNeoX, Self::Cohere];

    /// Its name in transformers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaTokenizer",
            Self::CodeLlama => "CodeLlamaTokenizer",
            Self::Gpt2 => "GPT2Tokenizer",
            Self::Qwen2 => "Qwen2Tokenizer",
            Self::Qwen35 => "Qwen3_5Tokenizer",
            Self::Gemma => "GemmaTokenizer",
            Self::GptNeoX => "GPTNeoXTokenizer",
            Self::Cohere => "CohereTokenizer",
        }
    }
}

/// Names that stand for `TokenizersBackend`.
const BACKENDS: [&str; 8] = [
    "TokenizersBackend",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerFast",
    "PythonBackend",
    "BloomTokenizer",
    "BloomTokenizerFast",
    "ParakeetTokenizer",
    "ParakeetTokenizerFast",
];

/// Classes of transformers 5.24, without `Fast`, that build their own tokenizer or have none of the library's; every other
/// name is unknown to it and stands for `TokenizersBackend`.
const NOT_BUILT: &str = "\
    Albert Bart Barthez Bartpho Bert BertGeneration BertJapanese BertLegacy Bertweet BigBird BioGpt Blenderbot \
    BlenderbotSmall ByT5 CLIP CTRL Camembert Canine Clvp CodeGen ConvBert Cpm CpmAnt DPRContextEncoder \
    DPRQuestionEncoder DPRReader Deberta DebertaV2 Dia DistilBert Electra Esm Esmc FNet FSMT FastSpeech2Conformer Flaubert \
    Funnel GPTNeoXJapanese GPTSw3 Herbert Lasr LayoutLM LayoutLMv2 LayoutLMv3 LayoutXLM LED Longformer Luke Lxmert M2M100 \
    MBart MBart50 MLuke MPNet Marian MarkupLM Mgpstr MobileBert Mvp MyT5 Nllb Nougat OpenAIGPT PLBart Pegasus \
    Perceiver Phobert Pop2Piano ProphetNet Rag Reformer RemBert RoCBert RoFormer Roberta SeamlessM4T Siglip Siglip2 \
    Speech2Text SpeechT5 Splinter SqueezeBert T5 Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper \
    XGLM XLM XLMRoberta XLNet";

/// `TOKENIZER_MAPPING_NAMES`, for the families there is a decoder for; Llama is not in it.
fn registered(model_type: &str) -> Option<&'static str> {
    match model_type {
        "qwen2" | "qwen3" => Some("Qwen2Tokenizer"),
        // `MistralCommonBackend` only where mistral-common is installed and a `tekken.json` is there.
        "mistral" => Some("TokenizersBackend"),
        _ => None,
    }
}

/// `MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS`: what their files name is not believed.
fn is_misnamed(model_type: &str) -> bool {
    model_type == "qwen2"
}

/// The class that `AutoTokenizer.from_pretrained` of transformers 5.24 instantiates, without code of the model's own.
///
/// `is_byte_level`: whether `tokenizer.json` says `"ByteLevel"` anywhere.
///
/// # Errors
/// If it is one that is not built here.
pub(super) fn find(
    tokenizer_config: &Map<String, Json>,
    config: &Map<String, Json>,
    is_byte_level: bool,
) -> Result<TokenizerClass, NoClass> {
    let named = |file: &Map<String, Json>| {
        file.get("tokenizer_class").and_then(Json::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
    };
    let (own, of_model) = (named(tokenizer_config), named(config));
    let declared = own.clone().or_else(|| of_model.clone());
    let model_type = config.get("model_type").and_then(Json::as_str).unwrap_or_default();
    let registered = registered(model_type);
    let code = own_code(tokenizer_config);
    if code.is_none()
        && let Some(declared) = &declared
    {
        if base(declared) == "LlamaTokenizer" && !is_misnamed(model_type) && is_byte_level {
            return Ok(TokenizerClass::AsSaved);
        }
        if let Some(registered) = registered.filter(|name| *name != base(declared)) {
            if BACKENDS.contains(&registered) {
                return Ok(TokenizerClass::AsSaved);
            }
            return class(if is_misnamed(model_type) { registered } else { declared });
        }
    }
    // With code of its own, a model is loaded without it only where transformers knows another class.
    if let Some(code) = code.filter(|_| !is_misnamed(model_type)) {
        let is_known = registered.is_some() || own.as_deref().is_some_and(is_of_transformers);
        if !is_known {
            return Err(NoClass::OwnCode(code));
        }
    }
    match own.or(of_model) {
        Some(name) => class(&name),
        None => registered.map_or(Ok(TokenizerClass::AsSaved), class),
    }
}

/// `auto_map` in its old form, a list, and in its present one.
fn own_code(tokenizer_config: &Map<String, Json>) -> Option<String> {
    let classes = match tokenizer_config.get("auto_map")? {
        Json::Array(classes) => classes,
        map => map.get("AutoTokenizer")?.as_array()?,
    };
    Some(classes.iter().rev().find_map(Json::as_str).unwrap_or("AutoTokenizer").to_owned())
}

fn base(name: &str) -> &str {
    name.strip_suffix("Fast").unwrap_or(name)
}

fn is_of_transformers(name: &str) -> bool {
    BACKENDS.contains(&name) || !matches!(class(name), Ok(TokenizerClass::AsSaved))
}

/// `tokenizer_class_from_name`; a name that transformers does not know stands for `TokenizersBackend`.
fn class(name: &str) -> Result<TokenizerClass, NoClass> {
    if BACKENDS.contains(&name) {
        return Ok(TokenizerClass::AsSaved);
    }
    if let Some(found) = Rebuilt::ALL.into_iter().find(|class| class.name() == base(name)) {
        return Ok(TokenizerClass::Rebuilt(found));
    }
    let is_other = base(name).strip_suffix("Tokenizer").is_some_and(|name| NOT_BUILT.split(' ').any(|it| it == name));
    if is_other { Err(NoClass::NotBuilt(name.to_owned())) } else { Ok(TokenizerClass::AsSaved) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(tokenizer: &Json, config: &Json, is_byte_level: bool, want: &Result<TokenizerClass, NoClass>) {
        let object = |value: &Json| value.as_object().unwrap().clone();
        assert_eq!(find(&object(tokenizer), &object(config), is_byte_level), *want, "{tokenizer} {config}");
    }

    #[test]
    fn a_name_decides_unless_the_model_type_knows_better() {
        let (llama, qwen2, qwen3, mistral) = (
            json!({"model_type": "llama"}),
            json!({"model_type": "qwen2"}),
            json!({"model_type": "qwen3"}),
            json!({"model_type": "mistral"}),
        );
        let built = |class| Ok(TokenizerClass::Rebuilt(class));
        let saved = Ok(TokenizerClass::AsSaved);
        let named = |name: &str| json!({ "tokenizer_class": name });
        check(&json!({}), &llama, true, &saved);
        check(&named("GPT2TokenizerFast"), &llama, true, &built(Rebuilt::Gpt2));
        check(&named("PreTrainedTokenizerFast"), &llama, true, &saved);
        check(&named("SomebodysTokenizer"), &llama, true, &saved);
        // A byte-level tokenizer under Llama's name is nobody's Llama tokenizer.
        check(&named("LlamaTokenizerFast"), &llama, true, &saved);
        check(&named("LlamaTokenizerFast"), &llama, false, &built(Rebuilt::Llama));
        check(&named("LlamaTokenizerFast"), &mistral, false, &saved);
        check(&named("LlamaTokenizerFast"), &qwen2, true, &built(Rebuilt::Qwen2));
        check(&named("LlamaTokenizerFast"), &qwen3, true, &saved);
        check(&named("PreTrainedTokenizerFast"), &qwen2, true, &built(Rebuilt::Qwen2));
        check(&named("PreTrainedTokenizerFast"), &qwen3, true, &saved);
        check(&named("GPT2Tokenizer"), &qwen3, true, &built(Rebuilt::Gpt2));
        check(&json!({}), &qwen3, true, &built(Rebuilt::Qwen2));
        let of_config = json!({"model_type": "llama", "tokenizer_class": "GPT2Tokenizer"});
        check(&json!({}), &of_config, true, &built(Rebuilt::Gpt2));
        check(&named("TokenizersBackend"), &of_config, true, &saved);
    }

    #[test]
    fn what_cannot_be_built_is_named() {
        let llama = json!({"model_type": "llama"});
        let not_built = |name: &str| Err(NoClass::NotBuilt(name.into()));
        check(&json!({"tokenizer_class": "T5TokenizerFast"}), &llama, false, &not_built("T5TokenizerFast"));
        let code = json!({"auto_map": {"AutoTokenizer": ["code.MyTokenizer", null]}, "tokenizer_class": "MyTokenizer"});
        check(&code, &llama, true, &Err(NoClass::OwnCode("code.MyTokenizer".into())));
        // Where transformers knows a class of the family, it loads the folder without the code.
        check(&code, &json!({"model_type": "qwen2"}), true, &Ok(TokenizerClass::AsSaved));
        check(&code, &json!({"model_type": "qwen3"}), true, &Ok(TokenizerClass::AsSaved));
    }
}
