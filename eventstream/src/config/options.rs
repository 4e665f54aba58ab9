//! Each option is defined in one line, from which its builder method, default, and key in the
//! environment and in TOML are generated, so that they cannot differ.

/// Defines a struct of options: private fields, consuming builder methods with the fields' names,
/// `Default`, and `set`, which reads an option by its name.
macro_rules! options {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $option_doc:literal])+
                $field:ident($argument:ty): $kind:ty = $default:expr;
            )+
        }
        $( and { $( $(#[$extra_meta:meta])* $extra:ident: $extra_kind:ty = $extra_default:expr; )+ } )?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[must_use]
        $vis struct $name {
            $( pub(crate) $field: $kind, )+
            $( $( $(#[$extra_meta])* pub(crate) $extra: $extra_kind, )+ )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $default, )+
                    $( $( $extra: $extra_default, )+ )?
                }
            }
        }

        impl $name {
            /// The names of the options.
            pub(crate) const NAMES: &[&str] = &[$(stringify!($field)),+];

            /// Each option with the lines of its documentation.
            #[cfg(test)]
            pub(crate) const DOCS: &[(&str, &[&str])] =
                &[$((stringify!($field), &[$($option_doc),+])),+];

            $(
                $(#[doc = $option_doc])+
                pub fn $field(mut self, $field: $argument) -> Self {
                    self.$field = $field.into();
                    self
                }
            )+

            /// Sets the option called `name`; `None` if there is no such option, `Err` with what is
            /// allowed if the value is invalid.
            pub(crate) fn set(
                &mut self,
                name: &str,
                value: &$crate::config::value::Value,
            ) -> Option<Result<(), String>> {
                match name {
                    $(
                        stringify!($field) => Some(
                            $crate::config::value::FromValue::from_value(value)
                                .map(|read| self.$field = read),
                        ),
                    )+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use options;
