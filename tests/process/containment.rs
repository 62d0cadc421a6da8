//! Nothing of a tree is left: whoever dies, and whatever the tree does to stay.
