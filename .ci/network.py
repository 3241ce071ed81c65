"""What NetworkPolicies let through between the pods of one namespace."""


class Policies:
    """The policies of a namespace, asked whether one pod may connect to a port of another."""

    def __init__(self, documents):
        self.policies = [document["spec"] for document in documents if document["kind"] == "NetworkPolicy"]

    def allow(self, source, target, port):
        """Whether both ends agree: pods are their labels and named ports, ports are numbers."""
        return self._one_way("Egress", source, target, target, port) and self._one_way(
            "Ingress", target, source, target, port
        )

    def leads_outside(self, source, port):
        """Whether a pod may connect to a port of another namespace, or outside the cluster."""
        return any(
            is_port(rule.get("ports"), {"ports": {}}, port)
            and any("namespaceSelector" in end or "ipBlock" in end for end in rule.get("to", []))
            for policy in self.policies
            if selects(policy["podSelector"], source["labels"]) and "Egress" in policy["policyTypes"]
            for rule in policy.get("egress", [])
        )

    def _one_way(self, direction, subject, other, server, port):
        """Whether some policy of `subject` allows it, or none says anything."""
        key, ends = ("egress", "to") if direction == "Egress" else ("ingress", "from")
        applying = [
            policy
            for policy in self.policies
            if selects(policy["podSelector"], subject["labels"]) and direction in policy["policyTypes"]
        ]
        return not applying or any(
            self._is_end(rule.get(ends), other) and is_port(rule.get("ports"), server, port)
            for policy in applying
            for rule in policy.get(key, [])
        )

    def _is_end(self, ends, pod):
        """Pods of other namespaces and addresses outside are not asked about."""
        return ends is None or any(
            "podSelector" in end and "namespaceSelector" not in end and selects(end["podSelector"], pod["labels"])
            for end in ends
        )


def is_port(ports, server, port):
    """A port by its number, or by its name in the pod that serves it."""
    return ports is None or any(
        "port" not in entry or server["ports"].get(entry["port"], entry["port"]) == port for entry in ports
    )


def selects(selector, labels):
    """Whether a label selector selects."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        if expression["operator"] != "In":
            raise ValueError(f"the operator {expression['operator']} is not understood here")
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True
