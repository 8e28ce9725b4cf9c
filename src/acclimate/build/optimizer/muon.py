"""Muon for hidden matrices, AdamW for the rest, as one optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from acclimate.config.chosen.optimizer import OptimizerSection


class MuonWithAdamW(torch.optim.Optimizer):
    """``W <- W - rate * 0.2 sqrt(max(n, m)) * NS(momentum)`` of a hidden matrix [n, m]; AdamW's step of all else.

    NS is torch's Newton-Schulz iteration towards the nearest orthogonal matrix (Jordan et al., 2024) [second-hand:
    torch.optim.Muon]. The factor gives an update the size of AdamW's, so one learning rate serves both (Liu et al.,
    2025, arXiv 2502.16982) [second-hand: torch's ``match_rms_adamw``].

    Args:
        hidden: parameter groups of matrices, with ``lr`` and ``weight_decay``.
        others: parameter groups of everything else.
        section: its betas, eps and momentum.

    Example:
        >>> from torch import nn
        >>> matrix, bias = nn.Parameter(torch.eye(2)), nn.Parameter(torch.zeros(2))
        >>> optimizer = MuonWithAdamW(
        ...     [{"params": [matrix], "lr": 0.1, "weight_decay": 0.0}],
        ...     [{"params": [bias], "lr": 0.1, "weight_decay": 0.0}],
        ...     OptimizerSection(name="muon"),
        ... )
        >>> (matrix.sum() + bias.sum()).backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[matrix]), sorted(optimizer.state[bias])
        (['momentum_buffer'], ['exp_avg', 'exp_avg_sq', 'step'])
    """

    def __init__(self, hidden: list[dict[str, Any]], others: list[dict[str, Any]], section: OptimizerSection) -> None:
        rate = section.learning_rate
        self._parts: list[torch.optim.Optimizer] = []
        if hidden:
            muon = torch.optim.Muon(hidden, lr=rate, momentum=section.momentum, adjust_lr_fn="match_rms_adamw")
            self._parts.append(muon)
        if others:
            self._parts.append(torch.optim.AdamW(others, lr=rate, betas=section.betas, eps=section.eps, fused=True))
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """One state and one list of groups, of which each part has its own."""
        begin = 0
        for part in self._parts:
            end = begin + len(part.param_groups)
            part.state, part.param_groups = self.state, self.param_groups[begin:end]
            begin = end

    def step(self, closure: Any = None) -> Tensor | None:  # type: ignore[override]
        """One step of both parts."""
        for part in self._parts:
            part.step()
        return None

    def load_state_dict(self, state_dict: Any) -> None:
        """As of any optimizer."""
        super().load_state_dict(state_dict)
        self._share()
