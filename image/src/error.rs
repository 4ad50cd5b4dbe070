//! What can go wrong in the image store, as data: one kind for those who must decide, one message for people.
