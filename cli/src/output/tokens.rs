//! `ouroctl token list`: which join tokens there are and what is left of them.

use super::quantity::span_ms;
use super::table::{Cell, Column, Table};
use super::{Style, Tone, text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `ouroboros.tokens/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokensDocument {
    /// Always `ouroboros.tokens/1`.
    pub(crate) schema: String,
    /// The tokens, without their secrets.
    pub(crate) tokens: Vec<TokenView>,
}

/// A token as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenView {
    /// Its public id.
    pub(crate) id: String,
    /// What it makes: `node`, `operator` or `client`.
    pub(crate) role: String,
    /// How often it can still be used.
    pub(crate) uses_left: u32,
    /// For how long, seconds; 0 when it has expired.
    pub(crate) expires_in_s: i64,
    /// Whether somebody revoked it.
    pub(crate) revoked: bool,
    /// Labels for what it makes.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

/// The table.
pub(crate) fn render(document: &TokensDocument, style: Style) -> String {
    if document.tokens.is_empty() {
        return "No tokens. Make one with `ouroctl token create`.\n".into();
    }
    let columns = [
        ("ID", Column::Left),
        ("ROLE", Column::Left),
        ("STATE", Column::Left),
        ("USES LEFT", Column::Right),
        ("LABELS", Column::Flexible),
    ];
    let mut table = Table::new(style, &columns);
    for token in &document.tokens {
        let labels: Vec<_> = token.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let (state, tone) = match token {
            t if t.revoked => ("revoked".to_string(), Tone::Dim),
            t if t.expires_in_s <= 0 => ("expired".to_string(), Tone::Dim),
            t if t.uses_left == 0 => ("used up".to_string(), Tone::Dim),
            t => (format!("valid for {}", span_ms(t.expires_in_s as f64 * 1000.0)), Tone::Good),
        };
        table.row(vec![
            text::cut(&token.id, 32).into(),
            text::cut(&token.role, 10).into(),
            Cell::toned(state, tone),
            token.uses_left.to_string().into(),
            labels.join(" ").into(),
        ]);
    }
    table.render(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_token_is_said() {
        let view = |id: &str, uses_left, expires_in_s, revoked| TokenView {
            id: id.into(),
            role: "node".into(),
            uses_left,
            expires_in_s,
            revoked,
            labels: BTreeMap::from([("owner".into(), "ada".into())]),
        };
        let tokens = vec![
            view("aaaa", 99, 86_000, false),
            view("bbbb", 1, 0, false),
            view("cccc", 0, 50, false),
            view("dddd", 5, 50, true),
        ];
        insta::assert_snapshot!(render(&TokensDocument { schema: "ouroboros.tokens/1".into(), tokens }, Style::PLAIN));
    }
}
