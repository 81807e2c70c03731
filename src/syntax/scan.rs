//! A look at the brackets of a text before it is parsed.
//!
//! The parser recurses once for every bracket that is open, so counting them first bounds its stack.
//! The scan knows texts and comments exactly as grammar/stria.pest does; it stops where no parse can
//! go on either (an unclosed text or comment).

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
}

/// Scans `text`; a bracket deeper than `limit` ends the scan.
pub(super) fn brackets(text: &str, limit: usize) -> Brackets {
    let mut found = Brackets::default();
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = &text[at..];
        let skip = match c {
            '"' => rest[1..].find(['"', '\n']).map(|n| n + 2),
            '/' if rest.starts_with("//") => Some(rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map(|n| n + 4),
            '{' | '(' | '[' => {
                found.open.push(Opening { at, bracket: c });
                if found.open.len() > limit {
                    found.too_deep = Some(at);
                    return found;
                }
                Some(1)
            }
            ')' | ']' => {
                let opening = if c == ')' { '(' } else { '[' };
                if found.open.last().is_some_and(|last| last.bracket == opening) {
                    found.open.pop();
                }
                Some(1)
            }
            '}' => {
                // Parentheses that a brace finds open are a mistake, behind which no parse goes on.
                while found.open.pop().is_some_and(|last| last.bracket != '{') {}
                if found.open.is_empty() {
                    found.item_ends.push(at + 1);
                }
                Some(1)
            }
            _ => Some(c.len_utf8()),
        };
        match skip {
            Some(n) => at += n,
            None => return found,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::brackets;

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
    fn an_unclosed_text_ends_the_scan() {
        assert_eq!(brackets("( \"abc", 8).open.len(), 1);
        assert!(brackets("/* (((((", 2).too_deep.is_none());
    }
}
