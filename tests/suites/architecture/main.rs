//! What the code promises about itself: the arrows between crates, the choke points, the documents that list names.

mod arrows;
mod choke_points;
mod documents;
mod source;
