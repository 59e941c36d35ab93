"""Wrong input is refused on one clear line, and leaves nothing."""

import pytest

# command | words that the one line of refusal must have
REFUSED = {
    "unknown verb": ("serach", "serach: unknown verb, did you mean search?"),
    "no verb at all like it": ("fly", "fly: unknown verb; the verbs are run, search"),
    "a key in place of a verb": ("strategy=darts", "strategy=darts: unknown verb"),
    "unknown verb to plan": ("plan serach", "plan serach: unknown verb, did you mean search?"),
    "plan of no verb": ("plan list", "plan list: unknown verb; use one of run, search, select"),
    "unknown flag": ("search --multrun", "--multrun: unknown flag, did you mean --multirun?"),
    "unknown group": ("search stratgy=darts", "stratgy=darts: unknown key, did you mean strategy?"),
    "unknown option": (
        "search strategy=dart",
        "strategy=dart: unknown option, did you mean darts?",
    ),
    "unlike any option": (
        "search strategy=xyzzy",
        "strategy=xyzzy: unknown option; there are area",
    ),
    "unknown method": (
        "select method=pertub",
        "selector=pertub: unknown option, did you mean pert",
    ),
    "unknown key": ("search round=3", "round=3: unknown key, did you mean rounds?"),
    "unlike any key": ("search xyzzy=3", "xyzzy=3: unknown key"),
    "an added key": ("search +xyzzy=3", "+xyzzy=3: unknown key"),
    "nested key": (
        "search space.chanels=4",
        "space.chanels=4: unknown key, did you mean space.chan",
    ),
    "key of another option": ("search strategy.level.lam=1", "strategy.level.lam=1: unknown key"),
    "key in an optimizer": (
        "search strategy.weight_optimizer.lrr=1",
        "strategy.weight_optimizer.lrr=1: unknown key, did you mean strategy.weight_optimizer.lr?",
    ),
    "added key in an optimizer": (
        "search +strategy.weight_optimizer.momentom=0",
        "strategy.weight_optimizer.momentom=0: torch.optim.SGD has no such keyword, did you mean",
    ),
    "key in an augmentation": (
        "run retrain.task.augment.cutot=0",
        "did you mean retrain.task.augm",
    ),
    "malformed override": ("search rounds", "rounds: expected key=value"),
    "malformed value": ("search rounds=[1", "rounds=[1: cannot be read; quote"),
    "text for a whole number": (
        "search rounds=abc",
        "rounds=abc: expected a whole number; give one",
    ),
    "fraction for a whole number": (
        "search seed=1.5",
        "seed=1.5: expected a whole number; give one",
    ),
    "no number in place of a whole one": ("search rounds=1e3", "rounds=1e3: expected a whole nu"),
    "one of a list": ("run stages=search", "stages=search: expected a list; type stages=[search]"),
    "a word of many brackets": (
        f"search space.operations={'[' * 1500}{']' * 1500}",
        "nested too deeply; nest less",
    ),
    "empty option": ("search strategy=", "strategy=: is empty; name an option or leave it out"),
    "a searchpath that is no list": (
        "search hydra.searchpath=conf",
        "hydra.searchpath=conf: expected a list; type hydra.searchpath=[file://FOLDER]",
    ),
    **{
        f"several values: {word}": (
            f"search {word}",
            f"{word}: names several values; name one, or type -m after the verb of a stage, which "
            "then runs one job per value",
        )
        for word in (
            "seed=0,1,2",
            "strategy=glob(snas*)",
            "strategy=choice(darts,snas)",
            "seed=range(0,3)",
        )
    },
    "text for a whole number, nested": (
        "search strategy.rounds=abc",
        "strategy.rounds=abc: expected a whole number",
    ),
    "fraction for a whole number, nested": (
        "search space.nodes=1.5",
        "space.nodes=1.5: expected a wh",
    ),
    "text for a rate": (
        "search strategy.weight_optimizer.lr=abc",
        "strategy.weight_optimizer.lr=abc: expected a number",
    ),
    "number for a list": (
        "search space.operations=3",
        "space.operations=3: expected a list of texts",
    ),
    "text for an object": ("search strategy.level=abc", "strategy.level=abc: expected Level"),
    "text for a switch": ("run baseline=maybe", "baseline=maybe: expected true or false; give"),
    "unknown word of a few": (
        "search space.stem=big",
        "space.stem=big: expected cifar or cifar_half",
    ),
    "unknown device": (
        "search budget.device=gpu",
        "budget.device=gpu: expected auto or cpu or cuda",
    ),
    "unknown operation": ("search space.operations=[conv9]", "space.operations: conv9 is unknown"),
    "unknown edge": ("search +space.choices.x=[none]", "space.choices: x is not an edge"),
    "negative rounds": ("search rounds=-1", "rounds=-1: use at least 1"),
    "negative rounds, nested": ("search strategy.rounds=-1", "strategy.rounds=-1: use at least 1"),
    "negative seed": ("search seed=-1", "seed=-1: use at least 0"),
    "no number": (
        "search strategy.weight_optimizer.lr=nan",
        "strategy.weight_optimizer.lr=nan: expected a finite number",
    ),
    "endless weights": (
        "search budget.max_params_m=inf",
        "budget.max_params_m=inf: expected a finite number",
    ),
    "negative rate": ("search alpha_lr=-1", "alpha_lr=-1.0: use more than 0"),
    "negative rate of an optimizer": (
        "search strategy.weight_optimizer.lr=-1",
        "strategy.weight_optimizer: Invalid learning rate: -1",
    ),
    "negative momentum": (
        "run retrain.optimizer.momentum=-1",
        "retrain.optimizer: Invalid momentum",
    ),
    "empty batches": ("search batch_size=0", "batch_size=0: use at least 2"),
    "no images": ("search images=0", "images=0: use at least 1"),
    "odd width": ("search width=3", "space.channels=3: use an even number"),
    "shallow": ("search depth=2", "depth=2: use at least 3"),
    "no epochs": ("run retrain.epochs=0", "retrain.epochs=0: use at least 1"),
    "no transfer epochs": ("run transfer.epochs=0", "epochs=0: use 0 < decay <= 1 and epochs >= 1"),
    "drop path of one": (
        "run retrain.drop_path=1",
        "retrain.drop_path=1: use 0 or more, but less than 1",
    ),
    "no threads": ("search budget.threads=0", "budget.threads=0: use at least 1"),
    "negative hours": ("search budget.max_hours=-1", "budget.max_hours=-1: use more than 0"),
    "no tuning": (
        "run selector=perturb selector.interval=0",
        "selector.interval=0: use at least 1",
    ),
    "validation of all": ("search dataset.validation=1", "dataset.validation=1: use a fraction"),
    "temperature": ("search strategy=snas strategy.relaxation.tau_end=-1", "relaxation.tau_end=-1"),
    "padding": ("search task.augment.padding=-1", "task.augment.padding=-1"),
    "selector without its supernet": (
        "run selector=perturb strategy=random",
        "selector=perturb: needs a supernet, and strategy=random leaves scored candidates; "
        "use selector=fittest",
    ),
    "selector without candidates": (
        "run selector=fittest",
        "use selector=magnitude, argmax, perturb, f",
    ),
    "stages without their first": (
        "run stages=[select]",
        "stages=[select]: a run begins with search",
    ),
    "stages with a gap": ("run stages=[search,retrain]", "stages=[search,retrain]: a run begins"),
    "unknown stage": (
        "run stages=[serach]",
        "stages=[serach]: unknown stage serach, did you mean search?",
    ),
    "no stages": ("run stages=[]", "stages=[]: a run begins with search"),
    "group left out": (
        "run transfer=null",
        "choose one of `nasrun list transfer`, or leave its stage out with `nasrun run stages=[",
    ),
    "strategy left out": ("search strategy=null", "needed; choose one of `nasrun list strategy`"),
    "group removed": (
        "run ~retrain",
        "choose one of `nasrun list retrain`, or leave the stage out with stages=[search,select]",
    ),
    "group removed from its verb": (
        "retrain genotype=darts_v2 ~retrain",
        "retrain=null: needed here; choose one of `nasrun list retrain`",
    ),
    "group left out behind a key": (
        "run rounds=2 space=null",
        "space=null: needed; choose one of `nasrun list space`",
    ),
    "engine left out": (
        "search ~engine",
        "engine=null: needed here; choose one of `nasrun",
    ),
    "task left out": ("search ~task", "task=null: needed here; choose one of `nasrun list task`"),
    "keys of a stage left out": (
        "run stages=[search] epochs=9",
        "epochs=9: has no effect with stages=[search]; leave it out, or add retrain to the stages",
    ),
    "selector of a stage left out": (
        "run stages=[search] method=perturb",
        "selector=perturb: has no effect with stages=[search]; leave it out, or add select",
    ),
    "transfer left out": (
        "run stages=[search,select,retrain] transfer.epochs=3",
        "transfer.epochs=3: has no effect with stages=[search,select,retrain]",
    ),
    "baseline of a retraining left out": (
        "run stages=[search,select] baseline=false",
        "baseline=false: has no effect with stages=[search,select]",
    ),
    "retraining that an experiment leaves out": (
        "run experiment=radars_memory dataset=digits retrain.layers=7",
        "retrain.layers=7: has no effect with stages=[search]",
    ),
    "epochs of a retraining left out within limits": (
        "run stages=[search] budget.max_params_m=1 epochs=9",
        "epochs=9: has no effect with stages=[search]",
    ),
    "stage left out of a sweep": (
        "run -m stages=[search] epochs=8,9",
        "epochs=8: has no effect with stages=[search]",
    ),
    "selector on a search": (
        "search selector=argmax",
        "has no effect on `nasrun search`; type it with",
    ),
    "retraining on a search": (
        "search retrain.epochs=2",
        "retrain.epochs=2: has no effect on `nasrun",
    ),
    "stages on a search": ("search stages=[search]", "has no effect on `nasrun search`"),
    "engine on a retraining": (
        "retrain genotype=darts_v2 engine=serial",
        "has no effect on `nasrun retrain`; type it with `nasrun search`",
    ),
    "epochs of another recipe": (
        "retrain genotype=darts_v2 retrain=cifar epochs=3",
        "epochs=3: has no effect, retrain=cifar has its own; type retrain.epochs=3",
    ),
    "width of a published architecture": (
        "retrain genotype=darts_v2 width=36",
        "width=36: has no effect, retrain=quick has its own; type retrain.channels=36",
    ),
    "width of a random architecture of layers": (
        "retrain genotype=random space=mobile depth=3 retrain.layers=3 width=36",
        "width=36: has no effect, retrain=mobile has its own; type retrain.channels=36",
    ),
    "batches of a published architecture": (
        "transfer genotype=darts_v2 batch_size=9",
        "batch_size=9: has no effect, transfer=quick has its own; type transfer.batch_size=9",
    ),
    "a table beside a published architecture": (
        "retrain genotype=nb201_best space=nasbench201 space.table=x.csv",
        "space.table=x.csv: has no effect on `nasrun retrain`; type it with `nasrun search`",
    ),
    "latencies without a limit": (
        "search budget.latency_table=there.json",
        "latency_table=there.json: has no effect without max_latency_ms",
    ),
    "epochs of a transfer": ("transfer genotype=darts_v2 epochs=3", "epochs=3: has no effect on"),
    "limits on a transfer": (
        "transfer genotype=darts_v2 budget.max_params_m=1",
        "budget.max_params_m=1: has no effect on `nasrun transfer`",
    ),
    "images of a transfer": (
        "transfer genotype=darts_v2 transfer.dataset.images=5",
        "a higher transfer.dataset.images",
    ),
    "selection of another number of cell types": (
        "run space=nasbench201 selector=at_least selector.size=[1,1]",
        "selector.size=[1, 1]: use 1 numbers",
    ),
    "healthy without a watchdog": (
        "run selector=healthy strategy.watchdog=null",
        "selector=healthy: the search has strategy.watchdog=null",
    ),
    "more images to judge by than there are": (
        "run selector=perturb selector.judge.images=4000",
        "selector.judge.images=4000: there are 360; use at most 360",
    ),
    "an early stop inside radars": (
        "search strategy=radars strategy.inner.watchdog.on_collapse=stop",
        "inner.watchdog.on_collapse=stop: the inner search must run all its rounds; use warn",
    ),
    "an edge without an operation": (
        "search +space.choices={normal/2-0:[none]}",
        "space.choices.normal/2-0: use at least one operation other than none",
    ),
    "genotype on a search": ("search genotype=darts_v2", "has no effect on `nasrun search`"),
    "search setting beside a genotype": (
        "retrain genotype=darts_v2 strategy=snas",
        "strategy=snas: has no effect with genotype=",
    ),
    "missing folder": (
        "search dataset=image_folder dataset.root=nowhere",
        "dataset.root=nowhere: there is no such folder",
    ),
    "missing transfer folder": (
        "run transfer=folder transfer.dataset.root=nowhere",
        "transfer.dataset.root=nowhere: there is no such folder",
    ),
    "no folder given": ("search dataset=image_folder", "dataset.root: has no default"),
    "no transfer folder given": ("run transfer=imagenet", "transfer.dataset.root: has no default"),
    "nothing downloaded": ("search dataset=cifar10", "dataset.download=true"),
    "nothing to select from": ("select", "no finished search to select from; type `nasrun search`"),
    "nothing to retrain": ("retrain", "no selected genotype; type `nasrun select` first"),
    "nothing to transfer": ("transfer outputs=there", "outputs=there: no selected genotype"),
    "no run": ("select run=nowhere", "run=nowhere: no run there; `nasrun list runs` shows"),
    "no run to export": ("export nowhere", "run=nowhere: no run there"),
    "no run to show": ("show nowhere", "run=nowhere: no run there"),
    "export of nothing": ("export", "export: give the folder of one run"),
    "unknown format": ("export x format=tflite", "format=tflite: use onnx or pt2"),
    "unknown genotype": (
        "retrain genotype=darts_v3",
        "genotype=darts_v3: neither a published cell nor",
    ),
    "unknown genotype to show": ("show genotype=xyzzy", "nor a file; there are darts_pt_s5_0, "),
    "genotype of another space": (
        "retrain genotype=darts_v2 space.nodes=2",
        "genotype=darts_v2: space=darts does not fit",
    ),
    "unknown network": (
        "show genotype=darts_v2 network=cifra",
        "network=cifra: unknown network, did",
    ),
    "unknown table": ("show genotype=darts_v2 format=xml", "format=xml: use table or json"),
    "show of nothing": ("show", "show: give the folder of a run or genotype=NAME"),
    "unknown key of show": (
        "show genotyp=darts_v2",
        "genotyp: unknown key, did you mean genotype?",
    ),
    "nothing to list": ("list strategie", "strategie: nothing to list, did you mean strategy?"),
    "unknown key of list": ("list runs output=x", "output: unknown key, did you mean outputs"),
    "runs among groups": ("list runs strategy", "list runs alone"),
    "two runs to show": ("show a b", "show: give the folder of a run or genotype=NAME"),
    "nothing to print": ("search --cfg", "nasrun: --cfg: name one of job, hydra, all"),
    "unknown thing to print": ("search --info xyzzy", "--info xyzzy: name one of all, config"),
    "an option of Hydra's that nothing reads": (
        "search hydra.run.dir=x",
        "hydra.run.dir=x: has no effect without -m; leave it out",
    ),
    "a launcher of one job": ("search hydra/launcher=joblib", "has no effect without -m"),
    "flag without a flag": ("search --resolve", "--resolve: has no effect without --cfg job"),
    "two options of a group": (
        "search dataset=[digits,mnist5k]",
        "names several options; name one, or run one job for each by -m",
    ),
    "new key in a mapping": (
        "search space.choices={x:[none]}",
        "put + in front of the override to add it",
    ),
    "a key taken away": ("search ~seed", "~seed: every command needs seed; leave this out"),
    "a key taken away from its value": ("search ~seed=0", "every command needs seed"),
    "no value": ("search seed=???", "seed: has no default; give it on the command line"),
    "no value, nested": ("search space.nodes=???", "space.nodes: has no default"),
    "endless batches": (
        "search batch_size=99999999999999999999",
        "batch_size=99999999999999999999",
    ),
    "a rate beyond 32 bits": (
        "search strategy.weight_optimizer.lr=1e99",
        "strategy.weight_optimizer.lr=1e+99: use at most 3.4e+38",
    ),
    "threads beyond the machine": (
        "search budget.threads=100000",
        "budget.threads=100000: this machine has",
    ),
    "no table": (
        "search budget.max_latency_ms=1 budget.latency_table=nope.json",
        "budget.latency_table=nope.json: not a table",
    ),
    "endless rate": ("search alpha_lr=inf", "alpha_lr=inf: use more than 0"),
    "share of nothing": ("search task.share=0.001", "share=0.001: 1 of 1077 images are left"),
    "outputs in a file": (f"search outputs={__file__}", "test_line.py is not a folder"),
    "no package's name": ("search trust=[../x]", "trust=[../x]: not the name of a package"),
    "package that is not there": ("search trust=[nopackage]", "trust=[nopackage]: no such package"),
    "target outside": (
        "search strategy._target_=os.system",
        "os.system: not trusted; code outside",
    ),
    "target that is not there": (
        "search strategy._target_=nasrun.strategies.differentiable.Differentable",
        "has no Differentable, did you mean Differentiable?",
    ),
    "sweep with one bad value": ("search -m strategy=darts seed=0,-1", "seed=-1: use at least 0"),
    "sweep with one bad option": ("search -m strategy=darts,dart", "strategy=dart: unknown option"),
    "sweep with a bad key": ("search -m seed=0,1 round=2", "round=2: unknown key"),
    "sweep over an impossible pair": (
        "run -m selector=perturb strategy=darts,random",
        "selector=perturb: needs a supernet",
    ),
}


@pytest.mark.parametrize(("command", "expected"), REFUSED.values(), ids=REFUSED)
def test_wrong_input_is_one_line_and_leaves_nothing(nasrun, here, command, expected):
    assert expected in nasrun(*command.split()).refusal
    assert list(here.iterdir()) == []
