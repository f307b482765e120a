"""The environments of one tree: a state behind every turn, so that a path can continue, fork and be cut anywhere."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from treepo.config.policies import EnvironmentFork
from treepo.environment.calls import call
from treepo.environment.open_limit import OpenLimit
from treepo.environment.protocol import Observation, Turn, observation_problem
from treepo.environment.states import BranchCounts, BranchState, Live, Place, Reply
from treepo.tree import FinishReason

_log = logging.getLogger(__name__)


class EnvironmentStartError(RuntimeError):
    """An environment that does not even begin its conversation."""


class _BranchError(RuntimeError):
    """A state that cannot be copied."""


class Branches:
    """The environments of one tree.

    Attributes:
        counts: What they did.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        row: Mapping[str, Any],
        *,
        name: str,
        fork: EnvironmentFork,
        timeout: float,
        max_steps: int | None,
        limit: OpenLimit,
    ) -> None:
        """Prepares the conversations; the first environment is made for the first turn.

        Args:
            make: Makes an environment.
            row: The prompt's row of the dataset.
            name: The prompt, for messages.
            fork: How the state behind a turn is copied.
            timeout: Seconds for one call of an environment.
            max_steps: Most steps in the tree; None for no limit. Which paths get the last ones follows the order in
                which they come.
            limit: Counts the open environments of the process.
        """
        self.counts = BranchCounts()
        self.root = BranchState(place=Place())
        self._make = make
        self._row = row
        self._name = name
        self._fork = fork
        self._timeout = timeout
        self._max_steps = max_steps
        self._limit = limit
        self._open: set[Live] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._begun = 0
        self._checks = callable(getattr(make, "check_finished", None))

    async def answer(self, state: BranchState, turn: Turn, *, step: bool) -> Reply:
        """Answers a turn behind a state.

        Args:
            state: The conversation before the turn.
            turn: The turn.
            step: Whether the conversation may continue; otherwise the environment is only asked whether it is finished.

        Returns:
            The reply. A step that fails is a reply with `error`, and behind it the environment stands where it stood
            before the turn; a state that cannot be copied ends the path.

        Raises:
            EnvironmentStartError: The environment could not be made or reset.
        """
        after = replace(state, turns=turn.number, rewards=(*state.rewards, None))
        if not step and not self._checks:
            return Reply(state=after)
        if step and self._max_steps is not None and self._begun >= self._max_steps:
            return Reply(state=after, ended_by=FinishReason.MAX_TURNS)
        self._begun += step
        try:
            live = await self._copy(state.place)
        except _BranchError as error:
            _log.warning("prompt %s, turn %d: %s", self._name, turn.number, error)
            return Reply(state=after, ended_by=FinishReason.FAILED)
        try:
            observation = await self._step(live, turn, step=step)
        except Exception as error:
            await self._end(live)
            return Reply(state=after, error=self._failure(error))
        if observation is None:
            await self._end(live)
            return Reply(state=after)
        after = replace(after, rewards=(*state.rewards, observation.reward))
        if observation.finished:
            await self._end(live)
            return Reply(state=after, ended_by=FinishReason.DONE)
        place = Place(turns=(*state.place.turns, (turn, observation)), live=live)
        self._rest(place)
        return Reply(state=replace(after, place=place), messages=observation.messages)

    async def close(self) -> None:
        """Closes every environment; one that fails at it is reported and not waited for."""
        self.counts.open_at_end = len(self._open)
        await asyncio.gather(*(self._end(live) for live in list(self._open)))

    async def _step(self, live: Live, turn: Turn, *, step: bool) -> Observation | None:
        """The environment's answer; None where it was not asked for one."""
        environment = live.environment
        if self._checks and await self._call(environment.check_finished, turn):
            return Observation(finished=True)
        if not step:
            return None
        begun = time.monotonic()
        try:
            observation = await self._call(environment.step, turn)
        finally:
            seconds = time.monotonic() - begun
            self.counts.seconds += seconds
            self.counts.longest = max(self.counts.longest, seconds)
        problem = observation_problem(observation)
        if problem:
            raise TypeError(problem)
        self.counts.steps += 1
        return observation

    async def _copy(self, place: Place) -> Live:
        """A new environment, brought to a place."""
        if place.live is not None and self._fork is not EnvironmentFork.FORK:
            # Whoever comes first takes it; the others replay.
            live, place.live = place.live, None
            self._limit.busy(live)
            return live
        await self._limit.enter()
        try:
            live = await self._forked(place) or await self._replayed(place)
        except BaseException:
            self._limit.leave()
            raise
        return live

    async def _forked(self, place: Place) -> Live | None:
        """A fork of the environment at a place; None where none is open, because its place was needed."""
        async with place.lock:
            live = place.live
            if live is None:
                return None
            self._limit.busy(live)
            try:
                fork = await call(live.environment.fork, timeout=self._timeout, late=self._close_late)
                if fork is live.environment or not callable(getattr(fork, "step", None)):
                    raise TypeError("fork() must return another environment")
            except Exception as error:
                raise _BranchError(f"the environment could not be forked: {self._failure(error)}") from error
            finally:
                self._rest(place)
            return self._opened(fork)

    async def _replayed(self, place: Place) -> Live:
        """A new environment, stepped through the turns again."""
        live = None
        try:
            # Made here and not in a thread: one that is made after the tree was given up would stay open.
            live = self._opened(self._make())
            reset = getattr(live.environment, "reset", None)
            if reset is not None:
                await self._call(reset, self._row)
            for turn, observed in place.turns:
                self.counts.replays += 1
                if await self._call(live.environment.step, turn) != observed:
                    raise _BranchError(f"turn {turn.number} was answered otherwise when it was replayed")
        except BaseException as error:
            if live is not None:
                # Its place is given back by whoever asked for it.
                await self._end(live, leave=False)
            if not isinstance(error, Exception):
                raise
            if place.turns:
                self.counts.failed += isinstance(error, _BranchError)
                said = str(error) if isinstance(error, _BranchError) else self._failure(error)
                raise _BranchError(f"the environment could not be replayed: {said}") from error
            raise EnvironmentStartError(f"the environment could not be reset: {self._failure(error)}") from error
        return live

    def _rest(self, place: Place) -> None:
        """Keeps the environment at a place open until it is wanted, or its place is."""
        live = place.live
        if live not in self._open:
            # The tree was closed meanwhile.
            return

        async def end() -> None:
            place.live = None
            await self._end(live)

        self._limit.idle(live, end)

    def _opened(self, environment: Any) -> Live:
        live = Live(environment)
        self._open.add(live)
        return live

    def _close_late(self, environment: Any) -> None:
        """Closes a fork that came when nobody waited for it any more."""
        task = asyncio.ensure_future(self._end(self._opened(environment), leave=False))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _end(self, live: Live, *, leave: bool = True) -> None:
        self._limit.busy(live)
        if live not in self._open:
            return
        self._open.discard(live)
        try:
            close = getattr(live.environment, "close", None)
            if close is not None:
                await self._call(close)
        except Exception as error:
            self.counts.close_failed += 1
            _log.warning("prompt %s: an environment could not be closed: %s", self._name, self._describe(error))
        finally:
            if leave:
                self._limit.leave()

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await call(function, *arguments, timeout=self._timeout)

    def _failure(self, error: Exception) -> str:
        """Counts a failure, and says it in one line."""
        self.counts.failed += 1
        self.counts.timed_out += isinstance(error, TimeoutError)
        return self._describe(error)

    def _describe(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) and not str(error):
            return f"no answer within {self._timeout:g} s (treepo.environment.timeout)"
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
