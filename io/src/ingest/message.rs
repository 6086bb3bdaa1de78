//! What ranks write to each other while they ingest (stage 2): words of 64 bits and texts, one after the other.
//!
//! ```text
//! word: lowest byte first | float: its bits, as a word | text: its length, its bytes | list: its length, its items
//! ```
//! Floats keep their bits, which decimal numbers would not do for infinities. A message that ends early, or says too much, is
//! none.

/// A message that is being written.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// One number.
    pub fn word(&mut self, word: u64) {
        self.0.extend(word.to_le_bytes());
    }

    /// Some numbers.
    pub fn words(&mut self, words: impl IntoIterator<Item = u64>) {
        words.into_iter().for_each(|word| self.word(word));
    }

    /// One float.
    pub fn float(&mut self, float: f64) {
        self.word(float.to_bits());
    }

    /// One text.
    pub fn text(&mut self, text: &[u8]) {
        self.word(text.len() as u64);
        self.0.extend(text);
    }

    /// Items, each in a way of its own.
    pub fn list<T>(&mut self, items: impl IntoIterator<Item = T>, each: impl Fn(&mut Writer, T)) {
        let at = self.0.len();
        self.word(0);
        let mut count = 0u64;
        for item in items {
            count += 1;
            each(self, item);
        }
        self.0[at..at + 8].copy_from_slice(&count.to_le_bytes());
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// What is still to be read of a message.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// What `read` makes of the whole message; none: it is no such message.
    pub fn whole<T>(bytes: &'a [u8], read: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Option<T> {
        let mut reader = Reader(bytes);
        read(&mut reader).filter(|_| reader.0.is_empty())
    }

    /// One number.
    pub fn word(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    /// A number of things.
    pub fn count(&mut self) -> Option<usize> {
        self.word().and_then(|word| usize::try_from(word).ok())
    }

    /// True or false.
    pub fn flag(&mut self) -> Option<bool> {
        self.word().filter(|word| *word < 2).map(|word| word == 1)
    }

    /// One float.
    pub fn float(&mut self) -> Option<f64> {
        self.word().map(f64::from_bits)
    }

    /// One text.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    /// Items, each in a way of its own.
    pub fn list<T, C: FromIterator<T>>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<C> {
        let length = self.word()?;
        (0..length).map(|_| each(self)).collect()
    }
}
