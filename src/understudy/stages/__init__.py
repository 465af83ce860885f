"""The playbook, one module a stage: what evidence it needs and what follows from it. No stage knows another."""
