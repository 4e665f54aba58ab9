//! The published events by id, in pages, so that ids may come from distant ranges.

use std::collections::HashMap;

const PAGE_BITS: u32 = 12;
const PAGE: usize = 1 << PAGE_BITS;

/// `publish` was called.
pub(crate) const PUBLISHED: u8 = 1;
/// `publish` returned a receipt.
pub(crate) const ACCEPTED: u8 = 2;
/// `publish` returned an error.
pub(crate) const REFUSED: u8 = 4;
/// The receipt reported a position.
pub(crate) const STORED: u8 = 8;
/// The receipt or the callback reported an error.
pub(crate) const FAILED: u8 = 16;
/// The final read found it.
pub(crate) const IN_LOG: u8 = 32;
/// The final read found it at the position of the receipt.
pub(crate) const IN_PLACE: u8 = 64;

/// What is known of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    /// When `publish` was called.
    pub(crate) at: u64,
    /// Its number in the order of its publisher, topic and key.
    pub(crate) seq: u64,
    /// Its key; `u64::MAX` for none.
    pub(crate) key: u64,
    /// Where the receipt says it is.
    pub(crate) offset: i64,
    /// Where the receipt says it is.
    pub(crate) partition: i32,
    /// The process that published it.
    pub(crate) publisher: u32,
    /// Its topic.
    pub(crate) topic: u32,
    /// The flags above.
    pub(crate) flags: u8,
}

const NOTHING: Published = Published {
    at: 0,
    seq: 0,
    key: u64::MAX,
    offset: -1,
    partition: -1,
    publisher: 0,
    topic: 0,
    flags: 0,
};

impl Published {
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    pub(crate) fn any(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    pub(crate) fn key(&self) -> Option<u64> {
        (self.key != u64::MAX).then_some(self.key)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pages: HashMap<u64, usize>,
    rows: Vec<Box<[Published]>>,
    /// The page of the last lookup: ids mostly come in runs.
    last: Option<(u64, usize)>,
}

impl Events {
    /// The row of `id`, created if necessary.
    pub(crate) fn row(&mut self, id: u64) -> &mut Published {
        let page = id >> PAGE_BITS;
        let index = match self.last {
            Some((last, index)) if last == page => index,
            _ => *self.pages.entry(page).or_insert_with(|| {
                self.rows.push(vec![NOTHING; PAGE].into_boxed_slice());
                self.rows.len() - 1
            }),
        };
        self.last = Some((page, index));
        &mut self.rows[index][place(id)]
    }

    /// The row of `id`, if it was published.
    pub(crate) fn get(&mut self, id: u64) -> Option<&mut Published> {
        let page = self.pages.get(&(id >> PAGE_BITS))?;
        let row = &mut self.rows[*page][place(id)];
        row.has(PUBLISHED).then_some(row)
    }

    /// Every published event with its id.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u64, &Published)> + '_ {
        let mut pages: Vec<_> = self
            .pages
            .iter()
            .map(|(page, index)| (*page, *index))
            .collect();
        pages.sort_unstable();
        let rows = pages.into_iter().flat_map(|(page, index)| {
            let first = page << PAGE_BITS;
            (first..).zip(self.rows[index].iter())
        });
        rows.filter(|(_, row)| row.has(PUBLISHED))
    }
}

fn place(id: u64) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX) & (PAGE - 1)
}
