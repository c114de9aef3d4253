"""The count behind the accuracy rule: known defects and healthy runs, and what each rule says of them."""
