"""The fields that each configuration had when run ids began to leave out later ones.

Every run id hashes these fields. It hashes any other field only where the field differs from its
default, so that adding an option renames no run. Never edit this table: a changed default raises
the version of its task or architecture instead.
"""

FIRST_FIELDS: dict[str, str] = {
    "Architecture": "d_model layers",
    "architecture attention": "d_model layers num_heads rotary",
    "architecture based": "d_model layers feature_dim num_heads window rotary kernel_size",
    "architecture h3": "d_model layers d_state head_dim",
    "architecture mamba": "d_model layers d_state d_conv expand",
    "architecture rwkv": "d_model layers generation head_dim",
    "architecture short-conv": "d_model layers kernel_size form",
    "architecture sliding-window": "d_model layers num_heads rotary window",
    "architecture taylor-attention": "d_model layers feature_dim num_heads",
    "task mqar": "vocab_size power_a filler repeats train validation test",
    "task ar": "vocab_size train validation test",
    "task forgetting-mqar": "vocab_size power_a filler train validation test",
    "task compositional-mqar": "vocab_size power_a filler train validation test",
    "task induction": "vocab_size train validation test",
    "task selective-copying": "vocab_size train validation test",
    "task copying": "alphabet train validation test",
    "task ngram-lookup": "key alphabet ngram answer train validation test",
    "task phonebook": "names digits shown train validation test",
    "task set-disjointness": "vocab_size train validation test",
    "task in-context-language": (
        "symbols fewest_symbols states fewest_states branches string train validation test"
    ),
    "task mad-in-context-recall": "vocab_size train validation test",
    "task mad-noisy-recall": "vocab_size noise_tokens train validation test",
    "task mad-fuzzy-recall": "vocab_size key_tokens value_tokens train validation test",
    "task mad-selective-copying": "vocab_size train validation test",
    "task mad-compression": "vocab_size train validation test",
    "task mad-memorization": "vocab_size map_seed train validation test",
    "task swde": (
        "data length test_lengths tokenizer vocab_size truncation learn ask "
        "train_questions test_questions test_share split_seed held_out"
    ),
    "task squad": (
        "data length test_lengths tokenizer vocab_size truncation learn ask "
        "train_questions test_questions test_share split_seed form"
    ),
    "task text": "data length tokenizer vocab_size rare",
    "task documents": "kinds tokenizer vocab_size train validation test",
    "task needle": (
        "haystack key_symbols key_tokens value_symbols value_tokens filler_symbols train "
        "validation test"
    ),
    "task variable-tracking": (
        "feedback haystack variables value_symbols filler_symbols train validation test"
    ),
    "task common-words": "words train validation test",
    "task frequent-words": "words alpha train validation test",
    "ModelConfig": "mlp_ratio norm embedding_dropout",
    "TrainingConfig": (
        "epochs batch_size evaluation_batch_size learning_rate weight_decay gradient_clip "
        "order early_stop precision"
    ),
    "RunConfig": "task architecture model training seed",
}
"""By kind and stored name, or by class name; nothing of what came later is listed."""
