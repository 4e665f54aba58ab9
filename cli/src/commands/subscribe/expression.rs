//! The language of `--where`: comparisons of fields, joined by `&&`, `||`, `!` and parentheses.

use std::cmp::Ordering;

use serde_json::Value;

use crate::commands::record::fields::{Fields, Path};

/// A condition on a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare(Path, Operator, Literal),
    /// The field exists, and is neither null nor false.
    Is(Path),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    text: String,
    /// A quoted value is always text.
    is_quoted: bool,
}

/// Longest first, so that none hides another.
const OPERATORS: &[(&str, Operator)] = &[
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("~", Operator::Contains),
];

/// Deeper nesting is rejected, as the parser is recursive.
const DEPTH: usize = 100;

impl Expression {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
        };
        let found = parser.any()?;
        parser.space();
        if parser.rest().is_empty() {
            Ok(found)
        } else {
            Err(parser.expected("&&, || or the end"))
        }
    }

    pub(super) fn holds(&self, fields: &Fields<'_>) -> bool {
        match self {
            Self::And(a, b) => a.holds(fields) && b.holds(fields),
            Self::Or(a, b) => a.holds(fields) || b.holds(fields),
            Self::Not(a) => !a.holds(fields),
            Self::Is(path) => fields
                .get(path)
                .is_some_and(|json| !matches!(&*json, "null" | "false")),
            Self::Compare(path, operator, literal) => {
                let json = fields.get(path);
                compare(json.as_deref().unwrap_or("null"), *operator, literal)
            }
        }
    }
}

fn compare(json: &str, operator: Operator, literal: &Literal) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(json) else {
        // A number that does not fit is compared as written.
        return operator == Operator::Equal && json == literal.text;
    };
    if operator == Operator::Unequal {
        return !holds(&value, Operator::Equal, literal);
    }
    holds(&value, operator, literal)
}

/// An array matches if one of its elements does.
fn holds(value: &Value, operator: Operator, literal: &Literal) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(|one| holds(one, operator, literal)),
        Value::String(text) if operator == Operator::Contains => text.contains(&literal.text),
        Value::String(text) => agrees(text.as_str().cmp(&literal.text), operator),
        Value::Number(number) if !literal.is_quoted => {
            order(&number.to_string(), &literal.text).is_some_and(|order| agrees(order, operator))
        }
        Value::Null if !literal.is_quoted => operator == Operator::Equal && literal.text == "null",
        Value::Bool(flag) if !literal.is_quoted => {
            operator == Operator::Equal && literal.text.parse() == Ok(*flag)
        }
        _ => false,
    }
}

fn order(a: &str, b: &str) -> Option<Ordering> {
    match (a.parse::<i128>(), b.parse::<i128>()) {
        (Ok(a), Ok(b)) => Some(a.cmp(&b)),
        _ => a.parse::<f64>().ok()?.partial_cmp(&b.parse::<f64>().ok()?),
    }
}

fn agrees(order: Ordering, operator: Operator) -> bool {
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::Unequal => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
        Operator::Contains => false,
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Expression, String> {
        let mut left = self.all()?;
        while self.takes("||") {
            left = Expression::Or(Box::new(left), Box::new(self.all()?));
        }
        Ok(left)
    }

    fn all(&mut self) -> Result<Expression, String> {
        let mut left = self.one()?;
        while self.takes("&&") {
            left = Expression::And(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("is nested more than {DEPTH} deep"));
        }
        let found = if self.takes("!") {
            Expression::Not(Box::new(self.one()?))
        } else if self.takes("(") {
            let inner = self.any()?;
            if !self.takes(")") {
                return Err(self.expected(")"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(found)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let name = self.word();
        let Some(path) = Path::parse(name) else {
            return Err(self.expected("the name of a field"));
        };
        for (sign, operator) in OPERATORS {
            if self.takes(sign) {
                let literal = self.literal()?;
                return Ok(Expression::Compare(path, *operator, literal));
            }
        }
        Ok(Expression::Is(path))
    }

    fn literal(&mut self) -> Result<Literal, String> {
        self.space();
        let quote = self
            .rest()
            .chars()
            .next()
            .filter(|c| matches!(c, '\'' | '"'));
        let Some(quote) = quote else {
            let text = self.word();
            if text.is_empty() {
                return Err(self.expected("a value"));
            }
            return Ok(Literal {
                text: text.to_owned(),
                is_quoted: false,
            });
        };
        self.at += 1;
        let Some(end) = self.rest().find(quote) else {
            return Err(self.expected(&format!("the closing {quote}")));
        };
        let text = self.rest()[..end].to_owned();
        self.at += end + 1;
        Ok(Literal {
            text,
            is_quoted: true,
        })
    }

    /// An unquoted name or value.
    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let part =
            |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '+' | '@' | '/');
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn takes(&mut self, sign: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn expected(&self, what: &str) -> String {
        match self.rest() {
            "" => format!("needs {what} at the end"),
            rest => format!("needs {what} where it says {rest:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, text: &str) -> bool {
        let Expression::Compare(_, operator, literal) = Expression::parse(text).unwrap() else {
            panic!("{text}");
        };
        compare(json, operator, &literal)
    }

    #[test]
    fn values_are_compared_as_what_they_are() {
        for (json, text) in [
            ("5", "a=5"),
            ("5", "a == 5.0"),
            ("5", "a!=6"),
            ("10", "a>9"),
            ("9007199254740993", "a>9007199254740992"),
            ("1.5", "a<=1.5"),
            ("-3", "a<-2"),
            ("\"5\"", "a=5"),
            ("\"b\"", "a>a"),
            ("\"2026-01-31T08:00:00Z\"", "a<2026-02-01T00:00:00Z"),
            ("\"sword of x\"", "a ~ 'd of'"),
            ("[1,7]", "a=7"),
            ("[\"x\"]", "a=x"),
            ("true", "a=true"),
            ("null", "a=null"),
            ("null", "a!=5"),
        ] {
            assert!(check(json, text), "{json} {text}");
        }
        for (json, text) in [
            ("5", "a='5'"),
            ("null", "a<5"),
            ("\"true\"", "a!=true"),
            ("5", "a~5"),
            ("{}", "a=5"),
            ("[1,7]", "a!=7"),
        ] {
            assert!(!check(json, text), "{json} {text}");
        }
    }

    #[test]
    fn and_binds_before_or() {
        let tree = |text| Expression::parse(text).unwrap();
        assert_eq!(tree("a || b && !c"), tree("(a || (b && (!c)))"));
        assert_ne!(tree("a || b && c"), tree("(a || b) && c"));
        assert_eq!(tree("a=1&&b!=2"), tree(" a = 1 && b != 2 "));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, said) in [
            ("", "the name of a field"),
            ("a=", "a value at the end"),
            ("a='x", "closing '"),
            ("a=1 b", "&&, || or the end where it says \"b\""),
            ("(a", "needs ) at the end"),
            ("a &&", "the name of a field"),
            ("a..b=1", "the name of a field"),
        ] {
            let error = Expression::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let deep = "(".repeat(10_000);
        assert!(Expression::parse(&deep).unwrap_err().contains("nested"));
    }
}
