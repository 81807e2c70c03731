//! A look at the brackets of a text before it is parsed.
//!
//! The parser recurses once for every bracket that is open, so counting them first bounds its stack.
//! The scan knows texts and comments exactly as grammar/stria.pest does; it stops where no parse can
//! go on either (an unclosed comment); an unclosed text ends with its line.

/// An opening bracket: its place and the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) at: usize,
    pub(super) bracket: char,
}

/// What the brackets of a text look like.
#[derive(Clone, Debug, Default)]
pub(super) struct Brackets {
    /// The first bracket that is too deep, if any.
    pub(super) too_deep: Option<usize>,
    /// Those that are open at the end, outermost first.
    pub(super) open: Vec<Opening>,
    /// Ends of the outermost brace pairs: where one item may end and the next begin.
    pub(super) item_ends: Vec<usize>,
    /// Texts and comments that are opened and never closed, at their first character.
    pub(super) unclosed: Vec<Unclosed>,
}

/// What is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unclosed {
    /// A text, which ends with its line.
    Text(usize),
    /// A comment, which ends with the file.
    Comment(usize),
}

/// `text` with spaces instead of everything in texts and comments but line ends; bytes stay where they are.
pub(super) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let length = hidden(&text[at..]).map_or(c.len_utf8(), |(length, _)| length);
        let token = &text[at..at + length];
        if hidden(token).is_some() {
            out.extend(token.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
        } else {
            out.push_str(token);
        }
        at += length;
    }
    out
}

/// The bytes of the text or comment that `rest` begins with, and whether it is closed; none if it begins with
/// something else.
fn hidden(rest: &str) -> Option<(usize, bool)> {
    let line = || rest.find('\n').unwrap_or(rest.len());
    if let Some(text) = rest.strip_prefix('"') {
        let end = text.find(['"', '\n']).filter(|end| text[*end..].starts_with('"'));
        return Some(end.map_or_else(|| (line(), false), |end| (end + 2, true)));
    }
    if rest.starts_with("//") {
        return Some((line(), true));
    }
    let comment = rest.strip_prefix("/*")?;
    Some(comment.find("*/").map_or((rest.len(), false), |end| (end + 4, true)))
}

/// Scans `text`; a bracket deeper than `limit` ends the scan.
pub(super) fn brackets(text: &str, limit: usize) -> Brackets {
    let mut found = Brackets::default();
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = &text[at..];
        if let Some((length, closed)) = hidden(rest) {
            match (closed, c) {
                (true, _) => {}
                (false, '"') => found.unclosed.push(Unclosed::Text(at)),
                (false, _) => found.unclosed.push(Unclosed::Comment(at)),
            }
            at += length;
            continue;
        }
        at += match c {
            '{' | '(' | '[' => {
                found.open.push(Opening { at, bracket: c });
                if found.open.len() > limit {
                    found.too_deep = Some(at);
                    return found;
                }
                1
            }
            ')' | ']' => {
                let opening = if c == ')' { '(' } else { '[' };
                if found.open.last().is_some_and(|last| last.bracket == opening) {
                    found.open.pop();
                }
                1
            }
            '}' => {
                // Parentheses that a brace finds open are a mistake, behind which no parse goes on.
                while found.open.pop().is_some_and(|last| last.bracket != '{') {}
                if found.open.is_empty() {
                    found.item_ends.push(at + 1);
                }
                1
            }
            _ => c.len_utf8(),
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Unclosed, brackets, masked};

    #[test]
    fn texts_and_comments_hide_brackets() {
        let text = "a { \"{{(\" // (((\n /* [ */ b } c { (";
        let found = brackets(text, 8);
        assert_eq!(found.item_ends, [text.find('}').unwrap() + 1]);
        assert_eq!(found.open.iter().map(|o| o.bracket).collect::<String>(), "{(");
    }

    #[test]
    fn the_first_bracket_beyond_the_limit_is_found() {
        assert_eq!(brackets("((()))", 3).too_deep, None);
        assert_eq!(brackets("(((())))", 3).too_deep, Some(3));
    }

    #[test]
    fn a_brace_closes_what_was_forgotten_inside() {
        assert_eq!(brackets("a { (( } b { ) }", 8).item_ends.len(), 2);
    }

    #[test]
    fn an_unclosed_text_ends_with_its_line_and_a_comment_with_the_file() {
        let found = brackets("( \"abc (\n)", 8);
        assert_eq!((found.open.len(), found.unclosed), (0, vec![Unclosed::Text(2)]));
        let found = brackets("/* (((((", 2);
        assert_eq!((found.too_deep, found.unclosed), (None, vec![Unclosed::Comment(0)]));
    }

    #[test]
    fn masking_moves_nothing() {
        let text = "a \"{\u{e9}\" // }\n/* {\n*/ { \"open }\n}";
        let found = masked(text);
        assert_eq!(found.len(), text.len());
        assert_eq!(found.matches(['{', '}']).collect::<String>(), "{}");
        assert_eq!(found.matches('\n').count(), 3);
    }
}
