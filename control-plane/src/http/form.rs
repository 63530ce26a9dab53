//! Form parameters, and texts in XML: what the Query services have in common.

/// The parameters of a form, in their order.
pub(super) fn parse(form: &[u8]) -> Vec<(String, String)> {
    let pairs = form.split(|b| *b == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.iter().position(|b| *b == b'=') {
            Some(at) => (decode(&pair[..at]), decode(&pair[at + 1..])),
            None => (decode(pair), String::new()),
        })
        .collect()
}

fn decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let mut byte = [0u8; 1];
        let digits = text.get(at + 1..at + 3).filter(|_| text[at] == b'%');
        if digits.is_some_and(|digits| hex::decode_to_slice(digits, &mut byte).is_ok()) {
            out.push(byte[0]);
            at += 3;
        } else {
            out.push(if text[at] == b'+' { b' ' } else { text[at] });
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A text for XML; control characters, which XML cannot hold, become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control() && !matches!(c, '\t' | '\n'), "\u{fffd}");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let pairs = |form: &str| parse(form.as_bytes());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            pairs("Action=GetCallerIdentity&Version=1"),
            [pair("Action", "GetCallerIdentity"), pair("Version", "1")]
        );
        assert_eq!(pairs("Ac%74ion=a+b%2Fc%zz"), [pair("Action", "a b/c%zz")]);
        assert_eq!(pairs("Action&&=x"), [pair("Action", ""), pair("", "x")]);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(escape("<&>\u{0}"), "&lt;&amp;&gt;\u{fffd}");
    }
}
