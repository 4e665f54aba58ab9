use std::collections::BTreeMap;
use std::fmt;

use super::properties;
use super::secret::PLACEHOLDER;

/// librdkafka's properties by name. `Debug` hides values that may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct BaseConfig(BTreeMap<String, String>);

impl BaseConfig {
    pub(crate) fn insert(&mut self, key: String, value: String) {
        self.0.insert(key, value);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value given for a property under its own name or an alias.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(key, _)| properties::preferred(key) == name)
            .map(|(_, value)| value.trim())
    }
}

impl fmt::Debug for BaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(key, value)| (key, shown(key, value))))
            .finish()
    }
}

/// A property's value for display: a placeholder if it may be secret. An unknown property may be a
/// misspelt secret one.
pub(crate) fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    if properties::is_secret(key) {
        PLACEHOLDER
    } else {
        value
    }
}
