//! The derive macro for `eventstream::EventType`; use it through the feature `derive` of
//! `eventstream`.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, DeriveInput, Error, Ident, LitInt, LitStr, Result, Token, parse_macro_input};

/// Implements `EventType` for a payload.
///
/// `#[event(topic = "..", name = "..")]` is required; `version = 2` sets the schema's version, by
/// default 1; `key = field` names a field that implements `Display`, whose text is the record's key.
#[proc_macro_derive(EventType, attributes(event))]
pub fn event_type(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    implement(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// The options in `#[event(..)]`.
#[derive(Default)]
struct Options {
    topic: Option<LitStr>,
    name: Option<LitStr>,
    version: Option<LitInt>,
    key: Option<Ident>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let option: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            let word = option.to_string();
            let given = match word.as_str() {
                "topic" => options.topic.replace(input.parse()?).is_some(),
                "name" => options.name.replace(input.parse()?).is_some(),
                "version" => options.version.replace(input.parse()?).is_some(),
                "key" => options.key.replace(input.parse()?).is_some(),
                _ => {
                    let allowed = "expected `topic`, `name`, `version` or `key`";
                    return Err(Error::new(option.span(), allowed));
                }
            };
            if given {
                return Err(Error::new(
                    option.span(),
                    format!("`{word}` is given twice"),
                ));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

fn implement(input: &DeriveInput) -> Result<Tokens> {
    let is_ours = |attribute: &&Attribute| attribute.path().is_ident("event");
    let mut attributes = input.attrs.iter().filter(is_ours);
    let missing = || {
        let text = "`#[event(topic = \"..\", name = \"..\")]` is missing";
        Error::new(input.ident.span(), text)
    };
    let attribute = attributes.next().ok_or_else(missing)?;
    if let Some(second) = attributes.next() {
        return Err(Error::new(second.span(), "`#[event(..)]` is given twice"));
    }
    let options: Options = attribute.parse_args()?;
    let needed = |value: Option<LitStr>, name: &str| {
        let text = format!("`{name} = \"..\"` is missing");
        value.ok_or_else(|| Error::new(attribute.span(), text))
    };
    let topic = needed(options.topic, "topic")?;
    let name = needed(options.name, "name")?;
    let version = options.version.map(|version| {
        quote! { const VERSION: i64 = #version; }
    });
    let key = options.key.map(|field| {
        quote! {
            fn key(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
                let key = ::std::string::ToString::to_string(&self.#field);
                ::core::option::Option::Some(::std::borrow::Cow::Owned(key))
            }
        }
    });
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::eventstream::EventType for #ident #arguments #bounds {
            const TOPIC: &'static str = #topic;
            const NAME: &'static str = #name;
            #version
            #key
        }
    })
}
