use super::*;

#[test]
fn parents_are_names() {
    for good in ["longshore", "longshore-lab-h1", "a_b.c"] {
        assert!(parent_is_valid(good), "{good}");
    }
    for bad in ["", "a/b", "..", "-a", "a-", "a--b", "a b"] {
        assert!(!parent_is_valid(bad), "{bad}");
    }
}
