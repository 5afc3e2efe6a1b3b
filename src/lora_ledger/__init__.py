"""lora-ledger: re-run what four papers claim about LoRA against full fine-tuning."""

__version__ = "0.1.0"
