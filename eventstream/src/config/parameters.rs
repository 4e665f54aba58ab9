use std::fmt;

use super::secret::Secret;
use super::value::{FromValue, Value};

/// Names with values, as a token request has beside the standard's. `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Parameters(pub(crate) Vec<(String, String)>);

impl<N: Into<String>, V: Into<String>, const LENGTH: usize> From<[(N, V); LENGTH]> for Parameters {
    fn from(pairs: [(N, V); LENGTH]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, _)| (name, Secret::default()));
        f.debug_map().entries(shown).finish()
    }
}

impl FromValue for Parameters {
    fn from_value(value: &Value) -> Result<Self, String> {
        let allowed = || "name=value, several joined by commas, or a list of them".to_owned();
        let pair = |text: &str| {
            let (name, value) = text.split_once('=')?;
            let name = name.trim();
            (!name.is_empty()).then(|| (name.to_owned(), value.trim().to_owned()))
        };
        let pairs: Option<Vec<_>> = match value {
            Value::Text(text) => text.split(',').map(pair).collect(),
            Value::List(list) if !list.is_empty() => {
                let texts = list.iter().map(Value::scalar);
                texts.map(|text| pair(&text?)).collect()
            }
            _ => None,
        };
        pairs.map(Self).ok_or_else(allowed)
    }
}
