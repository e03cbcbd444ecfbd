//! What is a connection to the origin for? Nine bytes say it.

/// What the origin is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Send everything back, until the end.
    Echo,
    /// Note when bytes arrive, until the end.
    Watch,
    /// Take so many bytes, answer with one, and await the next order.
    Take(u64),
    /// Send so many bytes, and await the next order.
    Give(u64),
}

impl Order {
    /// Length of an order in bytes.
    pub(crate) const LENGTH: usize = 9;

    /// As it is sent.
    pub(crate) fn bytes(self) -> [u8; Self::LENGTH] {
        let (kind, number) = match self {
            Self::Echo => (b'E', 0),
            Self::Watch => (b'W', 0),
            Self::Take(length) => (b'T', length),
            Self::Give(length) => (b'G', length),
        };
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        [kind, a, b, c, d, e, f, g, h]
    }

    /// As it was received; `None` when it is none.
    pub(crate) fn read(bytes: [u8; Self::LENGTH]) -> Option<Self> {
        let [kind, a, b, c, d, e, f, g, h] = bytes;
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        match kind {
            b'E' => Some(Self::Echo),
            b'W' => Some(Self::Watch),
            b'T' => Some(Self::Take(number)),
            b'G' => Some(Self::Give(number)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_sent() {
        for order in [Order::Echo, Order::Watch, Order::Take(1 << 33), Order::Give(7)] {
            assert_eq!(Order::read(order.bytes()), Some(order));
        }
        assert_eq!(Order::read(*b"GET / HTT"), Some(Order::Give(u64::from_be_bytes(*b"ET / HTT"))));
        assert_eq!(Order::read(*b"POST / HT"), None);
    }
}
