use std::borrow::Cow;

/// A type of event: the payload, with the topic, name and schema version that go with it.
///
/// [`Publish::of`](crate::Publish::of) takes everything from it;
/// [`Subscribe::to`](crate::Subscribe::to) and [`Subscribe::on_event`](crate::Subscribe::on_event)
/// select its events. The feature `derive` writes the implementation:
///
/// ```
/// # #[cfg(feature = "derive")] {
/// use eventstream::{EventType, Publish};
///
/// #[derive(serde::Serialize, serde::Deserialize, EventType)]
/// #[event(topic = "userAuthentication", name = "userLoggedIn", key = player_id)]
/// struct LoggedIn {
///     player_id: String,
///     platform: String,
/// }
///
/// let login = LoggedIn { player_id: "player-7".into(), platform: "steam".into() };
/// let event = Publish::of(&login).namespace("accelbyte");
/// # drop(event);
/// # }
/// ```
///
/// By hand:
///
/// ```
/// use std::borrow::Cow;
///
/// #[derive(serde::Serialize)]
/// struct LevelUp {
///     player_id: u64,
///     level: u32,
/// }
///
/// impl eventstream::EventType for LevelUp {
///     const TOPIC: &'static str = "player";
///     const NAME: &'static str = "levelUp";
///
///     fn key(&self) -> Option<Cow<'_, str>> {
///         Some(self.player_id.to_string().into())
///     }
/// }
/// ```
pub trait EventType {
    /// The topic, without the client's prefix.
    const TOPIC: &'static str;
    /// The event's name.
    const NAME: &'static str;
    /// The version of the schema.
    const VERSION: i64 = 1;

    /// The record's key: events with the same key stay in order. Default: none, so the event's id is
    /// the key.
    fn key(&self) -> Option<Cow<'_, str>> {
        None
    }
}
