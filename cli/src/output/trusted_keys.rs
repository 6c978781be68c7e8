//! `ouroctl module trusted`: whose modules the fleet uses.

use super::table::{Column, Table};
use super::{Style, text};
use ouro_common::document::TrustedKeysDocument;

/// A line each.
pub(crate) fn render(document: &TrustedKeysDocument, style: Style) -> String {
    if document.keys.is_empty() {
        return "No key is trusted: modules on devices are not used. Trust one with `ouroctl module trust KEY.pub`.\n".into();
    }
    let mut table = Table::new(style, &[("NAME", Column::Left), ("NUMBER", Column::Left), ("KEY", Column::Flexible)]);
    for key in &document.keys {
        table.row(vec![text::cut(&key.name, 30).into(), key.id.to_string().into(), key.key.base64().into()]);
    }
    table.render(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::document::TrustedKeyView;
    use ouro_common::module::TrustedKey;

    #[test]
    fn keys_have_a_line_each_and_none_is_said_too() {
        let mut document = TrustedKeysDocument { schema: TrustedKeysDocument::SCHEMA.into(), keys: vec![] };
        assert!(render(&document, Style::PLAIN).contains("module trust KEY.pub"));
        let key: TrustedKey = "RWQ18N+JrnKKpCTP6W02wgcxMUGBLTgCutwN0G4q3EGJq/vF3KcTMC0v".parse().unwrap();
        document.keys.push(TrustedKeyView { name: "factory".into(), id: key.id(), key });
        let text = render(&document, Style::PLAIN);
        assert!(text.contains("factory") && text.contains("A48A72AE89DFF035") && text.contains("RWQ18N"), "{text}");
    }
}
