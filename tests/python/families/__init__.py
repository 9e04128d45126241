"""Every mixture-of-experts type of transformers as a tiny model, and what becomes of it in moeq: see judge.py."""
