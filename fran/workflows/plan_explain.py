"""`fran plan explain`: the stages that make a plan's data, with folders, cases, disk and time."""

from __future__ import annotations

from fran.errors import SettingsFailed
from fran.workflows.entry import Job, problems
from fran.workflows.plan_status import stage_states
from fran.workflows.plan_text import STAGE_COLUMNS, say_folders, stage_json, stage_row
from fran.workflows.plan_verbs import project_of, run_plan_verb
from fran.workflows.plans import plan_chain
from fran.workflows.schema import PlansConfig
from fran.workflows.terminal import say, say_json, show_table


def plan_explain(job: Job[PlansConfig]) -> None:
    """Print the chain of plans, then one row a stage, then where the data go and what they cost."""
    config = job.config
    found = problems(job)
    project = project_of(config)
    usable = project if project is not None and not found else None
    chain = plan_chain(job)
    states = stage_states(chain, usable, config.preprocess.num_processes)
    if config.json:
        plans = [plan.plan_name for plan in chain]
        listed = [stage_json(state) for state in states]
        say_json({"plan": job.choices["plan"], "chain": plans, "stages": listed, "problems": [vars(p) for p in found]})
        return
    say(" -> ".join(f"{plan.plan_name} ({plan.mode})" for plan in chain))
    show_table(f"Stages of plan {job.choices['plan']}", STAGE_COLUMNS, [stage_row(state) for state in states])
    say_folders(states)
    if project is None:
        say(f"project {config.project.title} has not been made yet; project=<title> shows cases, disk and time")
    else:
        say(f"networks for its patch, and their memory: fran model ls plan={job.choices['plan']}")
    if found:
        say("")
        say(str(SettingsFailed(found)))


def main() -> None:
    """Entry of `fran plan explain`."""
    run_plan_verb(plan_explain, ("plan",))
