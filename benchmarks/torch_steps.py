"""One step of eq. (5)-(11) as a PyTorch user would write it: SGD by autograd, the other rules by hand."""

import torch


def contenders(circuit, numbers) -> dict:
    """`eager`, which changes the synapses in place, and `compile`, which makes new ones (torch.compile fuses those)."""
    by = _by_autograd if circuit.feedback_weights == "tied" else _by_hand
    return {
        "eager": lambda *given: by(circuit, numbers, True, *given),
        "compile": torch.compile(lambda *given: by(circuit, numbers, False, *given), dynamic=False),
    }


def runner(step, start: dict, x, labels, steps: int):
    """`run()`: so many steps from the same start, on one batch; returns the synapses. On a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, labels = x.to(device), labels.to(device)

    def run(steps=steps):
        synapses = {name: [m.to(device, copy=True) for m in ms] for name, ms in start.items()}
        for _ in range(steps):
            synapses, _loss = step(synapses, x, labels)
        if device == "cuda":
            torch.cuda.synchronize()
        return synapses

    return run


def _changed(m, direction, rate, decay, in_place):
    """(1 - γ) m + η direction."""
    return m.mul_(1 - decay).add_(direction, alpha=rate) if in_place else m * (1 - decay) + rate * direction


def _by_autograd(circuit, numbers, in_place, synapses, x, labels):
    w = [m.requires_grad_(True) if in_place else m.detach().requires_grad_(True) for m in synapses["w"]]
    h = x
    for i, m in enumerate(w):
        h = (torch.relu(h) if i else h) @ m.T
    loss = torch.nn.functional.cross_entropy(h, labels)
    gradients = torch.autograd.grad(loss, w)
    with torch.no_grad():
        changed = [
            _changed(m, -g, numbers["rate_w"], numbers["decay"], in_place) for m, g in zip(w, gradients, strict=True)
        ]
    return {**synapses, "w": changed}, loss.detach()


@torch.no_grad()
def _by_hand(circuit, numbers, in_place, synapses, x, labels):
    matched, hidden = circuit.one_to_one, len(circuit.hidden_widths)
    h, a = [], [x]
    for m in synapses["w"]:
        h.append(a[-1] @ m.T)
        a.append(torch.relu(h[-1]))
    gates = [(potential > 0).float() for potential in h[:-1]]
    b = [torch.nn.functional.one_hot(labels, h[-1].shape[1]) - torch.softmax(h[-1], 1)]
    for i in reversed(range(hidden)):
        h_bar = b[0] @ synapses["w_bar"][i].T
        b.insert(0, h_bar * gates[i] if matched else h_bar)  # D_d: the gate, or the identity
    directions = {"w": []}
    for i in range(hidden + 1):
        direct = i == hidden or matched
        received = b[i] if direct else (b[i] @ synapses["v_bar"][i].T) * gates[i]
        directions["w"].append(received.T @ a[i] / len(x))
    if "w_bar" in circuit.plastic:
        both = [a[i + 1].T @ b[i + 1] / len(x) for i in range(hidden)]
        directions["w_bar"] = both if matched else [v @ m for v, m in zip(synapses["v"], both, strict=True)]
    if not matched:
        directions["v"] = [b[i].T @ a[i + 1] / len(x) for i in range(hidden)]
        directions["v_bar"] = [m.T for m in directions["v"]]
    changed = {
        name: [
            _changed(m, d, numbers[f"rate_{name}"], numbers["decay"], in_place)
            for m, d in zip(synapses[name], matrices, strict=True)
        ]
        for name, matrices in directions.items()
    }
    return synapses | changed, torch.nn.functional.cross_entropy(h[-1], labels)
