//! How a prompt is put to a model: control tokens and fixed text around what the person typed.

use super::vocabulary::Vocabulary;

/// Control tokens that end an answer, whatever else the file names.
pub(super) const STOPS: &[&str] = &["<|end|>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "</s>"];

/// A family of chat templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatStyle {
    /// `<|user|>\n…<|end|>\n<|assistant|>\n`.
    Phi3,
    /// `<|im_start|>user\n…<|im_end|>\n<|im_start|>assistant\n`.
    ChatMl,
    /// Llama 3's header tokens.
    Llama3,
    /// `[INST] … [/INST]` as text.
    Mistral,
    /// The same as control tokens, which Mistral's files have from version 3 on.
    MistralControl,
    /// No template: the model continues the prompt.
    Plain,
}

/// A part of a templated prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Exactly this control token.
    Control(&'static str),
    /// Text, in which control tokens are not recognised.
    Text(String),
}

impl ChatStyle {
    /// The style whose control tokens the vocabulary has; `template` is the file's own Jinja template, which only tells
    /// Mistral's apart, because its markers may be plain text.
    pub(super) fn of(vocabulary: &Vocabulary, template: &str) -> Self {
        let has = |tokens: &[&str]| tokens.iter().all(|token| vocabulary.control(token).is_some());
        if has(&["<|user|>", "<|end|>", "<|assistant|>"]) {
            Self::Phi3
        } else if has(&["<|im_start|>", "<|im_end|>"]) {
            Self::ChatMl
        } else if has(&["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]) {
            Self::Llama3
        } else if has(&["[INST]", "[/INST]"]) {
            Self::MistralControl
        } else if template.contains("[INST]") {
            Self::Mistral
        } else {
            Self::Plain
        }
    }

    /// The parts of a prompt in this style; neighbouring text is one part, because words may span its seams.
    pub(super) fn segments(self, prompt: &str) -> Vec<Segment> {
        use Segment::{Control, Text};
        match self {
            Self::Phi3 => vec![
                Control("<|user|>"),
                Text(format!("\n{prompt}")),
                Control("<|end|>"),
                Text("\n".into()),
                Control("<|assistant|>"),
                Text("\n".into()),
            ],
            Self::ChatMl => vec![
                Control("<|im_start|>"),
                Text(format!("user\n{prompt}")),
                Control("<|im_end|>"),
                Text("\n".into()),
                Control("<|im_start|>"),
                Text("assistant\n".into()),
            ],
            Self::Llama3 => vec![
                Control("<|start_header_id|>"),
                Text("user".into()),
                Control("<|end_header_id|>"),
                Text(format!("\n\n{prompt}")),
                Control("<|eot_id|>"),
                Control("<|start_header_id|>"),
                Text("assistant".into()),
                Control("<|end_header_id|>"),
                Text("\n\n".into()),
            ],
            Self::Mistral => vec![Text(format!("[INST] {prompt} [/INST]"))],
            Self::MistralControl => vec![Control("[INST]"), Text(prompt.to_string()), Control("[/INST]")],
            Self::Plain => vec![Text(prompt.to_string())],
        }
    }
}
