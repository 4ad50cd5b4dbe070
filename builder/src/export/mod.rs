//! Results that leave the store: archives for other tools.
