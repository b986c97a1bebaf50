"""Floor 3: pipelines over many objects: spec, plan, execution, shuffle."""
