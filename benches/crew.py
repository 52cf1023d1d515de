"""The workers of a run, and a race between them."""

from time import sleep

from fastbp.bench.timing import SETTLE

from .peers import FASTBP
from .workers import Refused, Worker

SAMPLE = {"train": 0.1, "step": 0.05, "predict": 0.02}  # least seconds of a sample


class Crew:
    """Workers by (library, kind): kind "one" has one thread on one core, "all" has all cores.

    Parameters
    ----------
    peers : list of Peer
        With fastbp.
    kinds : list of "one" and "all"
        The races there will be. For "all", peers also get a worker of kind "one": for small nets one thread is often
        quicker.
    core : int
        For the workers of kind "one".
    isa : str or None
        The instruction set that every library is limited to; None: no limit.

    Attributes
    ----------
    about : dict
        {(library, kind): the library's description of itself}
    lost : dict
        The workers that have ended: {(library, kind): ("failed", why)}
    """

    def __init__(self, peers, kinds, core, isa=None):
        self.workers, self.about, self.lost = {}, {}, {}
        try:
            for peer in peers:
                for kind in kinds if peer is FASTBP else dict.fromkeys(["one", *kinds]):
                    self.workers[peer.name, kind] = Worker(peer, core if kind == "one" else None, isa)
            self.about, refused = self._answers()
            for key in refused.keys() & self.workers.keys():  # a worker that has said why it is about to end
                self.workers.pop(key).end()
                self.lost[key] = refused[key]
        except BaseException:
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def _answers(self):
        """({key: answer}, {key: (status, why)}) to the last command, which all workers were sent."""
        answers, refused = {}, {}
        for key, worker in list(self.workers.items()):
            try:
                answers[key] = worker.receive()
            except Refused as error:
                refused[key] = self._refusal(key, error)
        return answers, refused

    def _refusal(self, key, error):
        if not self.workers[key].alive:
            self.workers.pop(key).end()
            self.lost[key] = error.status, str(error)
        return error.status, str(error)

    def ask_all(self, command, *arguments):
        """Send all workers a command, at once. Returns ({key: answer}, {key: (status, why)}); workers lost before are
        among the latter."""
        lost = dict(self.lost)
        for worker in self.workers.values():
            worker.send(command, *arguments)
        answers, refused = self._answers()
        return answers, lost | refused

    def ask(self, key, command, *arguments):
        """The answer of one worker. Raises Refused."""
        if key not in self.workers:
            raise Refused(*self.lost[key])
        try:
            return self.workers[key].ask(command, *arguments)
        except Refused as error:
            self._refusal(key, error)
            raise

    def end(self):
        """End all workers."""
        for worker in self.workers.values():
            worker.pipe.close()
        for worker in self.workers.values():
            worker.end()


def race(crew, cell, kind, rounds, loaded, refused, quick=False, found=None):
    """Times of the contestants of a cell, one sample each in every round.

    Parameters
    ----------
    kind : "one" or "all"
        In "all" a peer races with one thread or with all its threads, whichever a sample finds quicker.
    loaded, refused : dict
        The results of `Crew.ask_all("load", cell)`.
    quick : bool
        Samples of a fifth of the time.
    found : dict or None
        A dict to be filled and returned. Each round is entered when it is finished, so that an exception (Ctrl-C, say)
        leaves the rounds before it.

    Returns
    -------
    dict
        "seconds" {library: seconds of a step in each round}, "kind_of" {library: "one" or "all"}, "refused" {library:
        (status, why)} for those without times.
    """
    seconds = SAMPLE[cell.mode] / (5 if quick else 1)

    def sample(key):
        if kind == "all":
            sleep(SETTLE)
        return crew.ask(key, "sample", seconds)

    found = {} if found is None else found
    times, kind_of, out = (found.setdefault(name, {}) for name in ("seconds", "kind_of", "refused"))
    for name in dict.fromkeys(name for name, _ in (*loaded, *refused)):
        wanted = [(name, k) for k in (["one", "all"] if kind == "all" and name != FASTBP.name else [kind])]
        able = [key for key in wanted if key in loaded]
        try:
            if not able:
                out[name] = next(refused[key] for key in wanted if key in refused)
                continue
            kind_of[name] = (min(able, key=sample) if len(able) > 1 else able[0])[1]
        except Refused as error:
            out[name] = error.status, str(error)
    for _ in range(rounds):
        finished = {}
        for name in list(kind_of):
            try:
                finished[name] = sample((name, kind_of[name]))
            except Refused as error:
                out[name] = error.status, str(error)
                times.pop(name, None)
                del kind_of[name]
        for name, taken in finished.items():
            times.setdefault(name, []).append(taken)
    return found
