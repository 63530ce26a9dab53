//! Answers of EC2: XML, written from its beginning to its end.

use crate::records::Tags;
use std::fmt::Display;

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// An answer that is being written.
pub(super) struct Xml {
    text: String,
    root: String,
}

impl Xml {
    /// The beginning of the answer to an operation.
    pub(super) fn answer(operation: &str, request_id: &str) -> Self {
        let root = format!("{operation}Response");
        let mut xml = Self { text: format!("<{root} xmlns=\"{NAMESPACE}\">"), root };
        xml.put("requestId", request_id);
        xml
    }

    /// An element with a text.
    pub(super) fn put(&mut self, name: &str, value: impl Display) {
        let value = escape(&value.to_string());
        self.text.push_str(&format!("<{name}>{value}</{name}>"));
    }

    /// An element with a text, when there is one.
    pub(super) fn put_some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// An element with elements.
    pub(super) fn inside(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.text.push_str(&format!("<{name}>"));
        write(self);
        self.text.push_str(&format!("</{name}>"));
    }

    /// A list.
    pub(super) fn list<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, write: impl Fn(&mut Self, T)) {
        self.inside(name, |xml| items.into_iter().for_each(|item| xml.inside("item", |xml| write(xml, item))));
    }

    /// Tags.
    pub(super) fn tags(&mut self, tags: &Tags) {
        self.list("tagSet", tags, |xml, (key, value)| {
            xml.put("key", key);
            xml.put("value", value);
        });
    }

    /// What most changes answer.
    pub(super) fn put_true(&mut self) {
        self.put("return", true);
    }

    pub(super) fn finish(self) -> String {
        let Self { mut text, root } = self;
        text.push_str(&format!("</{root}>"));
        text
    }
}

/// What XML 1.0 cannot hold at all becomes a question mark in a diamond.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' | '\n' => out.push(c),
            '\r' => out.push_str("&#13;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c < ' ' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_well_formed_whatever_they_hold() {
        let mut xml = Xml::answer("X", "id");
        xml.list("set", ["<a>&", "b\u{1}"], |xml, item| xml.put("v", item));
        assert_eq!(
            xml.finish(),
            "<XResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>id</requestId><set><item><v>\
             &lt;a&gt;&amp;</v></item><item><v>b\u{fffd}</v></item></set></XResponse>"
        );
    }
}
