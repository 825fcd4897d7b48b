/**
 * npm run crashtest -- --kills N --seed S --json
 *
 * Starts the built command line as a process, feeds it, kills it with SIGKILL at a named point or at a random time, starts
 * it again, feeds on; N times. Then it lets the node finish and holds everything it left behind, byte for byte, against
 * an uninterrupted run over the same log: the chains in one go, and a whole node that is never killed. The last line on
 * stdout is JSON; the exit code is 1 if anything was lost, doubled or changed, or the run itself broke. Then the
 * directory stays.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { KILL_AT_VARIABLE, KILL_POINTS, type KillPoint } from '../../engine/util/kill-point.ts'
import { Prng } from '../../engine/util/prng.ts'
import { type Checked, checkAfterKill, checkLog, checkRun, openReference } from './check.ts'
import { Feeder } from './feed.ts'
import { MUTANTS, mutantEnvironment } from './mutant-names.ts'
import { NODE_ARGUMENTS, NodeProcess, REPLAY_ALL } from './node-process.ts'
import { writePipelines } from './pipelines.ts'
import { ROOT } from './places.ts'
import { becomesQuiet } from './quiet.ts'
import { Receiver } from './receiver.ts'
import { type Kill, Schedule } from './schedule.ts'
import { isClean, newVerdict, type Verdict } from './verdict.ts'

/** A point that is not met while the node is fed for so long is given up; the node is killed all the same. */
const POINT_MS_MAX = 6_000
/** From ready to a random kill, and of feeding before a stop. */
const RUN_MS_MAX = 900
const START_MS_MAX = 60_000
const STOP_MS_MAX = 60_000
const FEED_PAUSE_MS = 12
/** Fed after the last kill. */
const LAST_BODIES = 24
interface Settings {
  readonly kills: number
  readonly minutes: number
  readonly seed: number
  readonly only: readonly KillPoint[] | null
  readonly allPoints: boolean
  readonly mutant: string | null
  readonly isJson: boolean
  readonly keep: boolean
}

class Broken extends Error {}

class CrashTest {
  readonly #settings: Settings
  readonly #dir: string
  readonly #receiver: Receiver
  readonly #feeder: Feeder
  readonly #prng: Prng
  readonly #schedule: Schedule
  readonly #pipelines: string
  readonly #verdict = newVerdict()
  readonly #killsAt: Record<string, number> = {}
  /** Of spawn to ready, running mean. */
  #startMs = 1_000
  #kills = 0
  #starts = 0

  constructor(settings: Settings, dir: string, receiver: Receiver) {
    this.#settings = settings
    this.#dir = dir
    this.#receiver = receiver
    this.#feeder = new Feeder(settings.seed, FEED_PAUSE_MS)
    this.#prng = new Prng(settings.seed)
    this.#schedule = new Schedule(this.#prng, settings.only)
    this.#pipelines = writePipelines(dir, receiver.url)
  }

  /** What was found so far, in words. */
  get faults(): readonly string[] {
    return this.#verdict.faults
  }

  async run(): Promise<{ readonly verdict: Verdict; readonly report: Record<string, unknown> }> {
    const startedMs = performance.now()
    const untilMs = startedMs + this.#settings.minutes * 60_000
    while (this.#kills < this.#settings.kills && performance.now() < untilMs) {
      const kill = this.#schedule.next()
      await this.#kill(kill)
      if (this.#isFoundOut) break
    }
    const verdict = this.#verdict
    const checked = this.#isFoundOut ? {} : await this.#judge()
    const { met, of } = this.#schedule
    const unmet = this.#schedule.unmet()
    return {
      verdict,
      report: {
        kills: this.#kills,
        lost: verdict.lost,
        duplicated: verdict.duplicated,
        differing: verdict.differing,
        seed: this.#settings.seed,
        commit: commit(),
        mutant: this.#settings.mutant,
        pointsMet: met,
        points: of,
        pointsUnmet: unmet,
        killsAt: this.#killsAt,
        starts: this.#starts,
        ...checked,
        seconds: Math.round((performance.now() - startedMs) / 1_000),
      },
    }
  }

  /** A broken engine that was found out at a kill; whether it could go on is nobody's question. */
  get #isFoundOut(): boolean {
    return this.#settings.mutant !== null && !isClean(this.#verdict)
  }

  async #judge(): Promise<Partial<Checked>> {
    const verdict = this.#verdict
    await this.#finish()
    const log = await checkLog(verdict, this.#dir, this.#feeder, this.#settings.seed)
    const reference = await openReference(this.#dir)
    const evidence = { dir: this.#dir, posts: this.#posts('') }
    const checked = await checkRun(verdict, 'killed run,', evidence, reference, true)
    if (!this.#isFoundOut) {
      const calm = await this.#runUninterrupted()
      await checkRun(verdict, 'uninterrupted run,', calm, reference, false)
    }
    return { ...log, ...checked }
  }

  async #kill(kill: Kill): Promise<void> {
    const env = kill.at === 'point' ? { [KILL_AT_VARIABLE]: `${kill.point}:${kill.hit}` } : {}
    const spawnedMs = performance.now()
    const node = this.#start(this.#pipelines, this.#dir, env)
    if (kill.at === 'random' && kill.of === 'spawn') {
      setTimeout(() => node.kill('SIGKILL'), kill.share * this.#startMs * 1.2)
    }
    const url = await this.#ready(node)
    if (url !== null) {
      this.#startMs += (performance.now() - spawnedMs - this.#startMs) / 8
      this.#feeder.start(url)
      await this.#endFed(node, kill)
    }
    const { code, signal } = await node.ended
    await this.#feeder.stop()
    if (this.#feeder.refused !== null) throw new Broken(`${this.#feeder.refused}\n${node.said}`)
    const byItself = kill.at === 'point' && !this.#given.has(node)
    if (signal !== 'SIGKILL') {
      const stopped = kill.at === 'point' && kill.phase === 'stop' && code === 0
      if (!stopped) throw new Broken(`the node ended by itself with ${code ?? signal}\n${node.said}`)
      this.#schedule.missed(kill.point)
      this.#log(`${kill.point}: not met, the node stopped`)
      return
    }
    this.#kills++
    await this.#look()
    const place = kill.at === 'point' && byItself ? kill.point : 'random'
    this.#killsAt[place] = (this.#killsAt[place] ?? 0) + 1
    if (kill.at === 'point') {
      if (byItself) this.#schedule.killed(kill.point)
      else this.#schedule.missed(kill.point)
    }
    const hit =
      kill.at === 'point'
        ? `${kill.point}:${kill.hit}${byItself ? '' : ' not met'}`
        : `random after ${kill.of}`
    this.#log(
      `${this.#kills}: ${hit}; ${this.#feeder.bodies} bodies, ${this.#schedule.met}/${this.#schedule.of} points`,
    )
  }

  /** Not after each kill: a look repairs LMDB's lock file, which the next start should find as the kill left it. */
  async #look(): Promise<void> {
    const { mutant, seed } = this.#settings
    const isSkipped = this.#prng.below(2) === 0 && mutant === null
    if (isSkipped || this.#feeder.acks.length === 0) return
    await checkAfterKill(this.#verdict, { dir: this.#dir, posts: this.#posts('') })
    if (mutant !== null) await checkLog(this.#verdict, this.#dir, this.#feeder, seed)
  }

  /** Nodes that this test killed by hand. */
  readonly #given = new Set<NodeProcess>()

  async #endFed(node: NodeProcess, kill: Kill): Promise<void> {
    if (kill.at === 'random') {
      await node.endsWithin(kill.share * RUN_MS_MAX)
      node.kill('SIGKILL')
      return
    }
    if (kill.phase === 'stop') {
      await node.endsWithin(this.#prng.below(RUN_MS_MAX))
      node.kill('SIGTERM')
      if ((await node.endsWithin(STOP_MS_MAX)) === null) {
        node.kill('SIGKILL')
        throw new Broken(`the node did not stop within ${STOP_MS_MAX} ms\n${node.said}`)
      }
      return
    }
    if ((await node.endsWithin(POINT_MS_MAX)) !== null) return
    this.#given.add(node)
    node.kill('SIGKILL')
  }

  /** Everything acknowledged, everything delivered, stopped cleanly. */
  async #finish(): Promise<void> {
    const node = this.#start(this.#pipelines, this.#dir, {})
    const url = await this.#ready(node)
    if (url === null) throw new Broken(`the node ended by itself\n${node.said}`)
    this.#feeder.start(url, this.#feeder.bodies + LAST_BODIES)
    await Promise.race([this.#feeder.ended(), node.ended])
    // A lane that ended while the other had to send again.
    this.#feeder.start(url, this.#feeder.bodies)
    await Promise.race([this.#feeder.ended(), node.ended])
    this.#log('everything is acknowledged')
    await this.#quiet(node, url, this.#dir)
    await this.#stop(node)
    this.#log('stopped')
  }

  /** A copy of the log, no state: a node that is never killed computes everything again. */
  async #runUninterrupted() {
    const dir = join(this.#dir, 'uninterrupted')
    mkdirSync(dir)
    const isData = (path: string): boolean => !path.endsWith('lock.mdb') && !path.endsWith('owner.json')
    cpSync(join(this.#dir, 'data'), join(dir, 'data'), { recursive: true, filter: isData })
    const pipelines = writePipelines(dir, `${this.#receiver.url}/uninterrupted`)
    const node = this.#start(pipelines, dir, {}, ['--reset-state'])
    const url = await this.#ready(node)
    if (url === null) throw new Broken(`the uninterrupted node ended by itself\n${node.said}`)
    await this.#quiet(node, url, dir)
    await this.#stop(node)
    return { dir, posts: this.#posts('uninterrupted/') }
  }

  #start(
    pipelines: string,
    dir: string,
    env: Readonly<Record<string, string>>,
    more: readonly string[] = [],
  ): NodeProcess {
    this.#starts++
    const { mutant } = this.#settings
    const mutated = mutant === null ? {} : mutantEnvironment(mutant)
    // What is not suppressed shows where something is replayed: everything, then.
    const args = mutant === 'not-suppressed' ? [...NODE_ARGUMENTS, ...REPLAY_ALL] : NODE_ARGUMENTS
    return new NodeProcess(['run', pipelines, '--data', join(dir, 'data'), ...args, ...more], {
      ...mutated,
      ...env,
    })
  }

  async #ready(node: NodeProcess): Promise<string | null> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        node.kill('SIGKILL')
        reject(new Broken(`the node did not start within ${START_MS_MAX} ms\n${node.said}`))
      }, START_MS_MAX)
    })
    try {
      return await Promise.race([node.ready, late])
    } finally {
      clearTimeout(timer)
    }
  }

  async #stop(node: NodeProcess): Promise<void> {
    node.kill('SIGTERM')
    const ended = await node.endsWithin(STOP_MS_MAX)
    if (ended?.code === 0) return
    node.kill('SIGKILL')
    throw new Broken(`the node did not stop well: ${JSON.stringify(ended)}\n${node.said}`)
  }

  async #quiet(node: NodeProcess, url: string, dir: string): Promise<void> {
    const isQuiet = await becomesQuiet(node, url, dir, () => this.#receiver.count())
    // The check tells what is missing.
    if (!isQuiet) this.#log(`still not quiet\n${node.said}`)
  }

  #posts(folder: string): ReadonlyMap<string, readonly string[]> {
    const posts = new Map<string, readonly string[]>()
    for (const [path, records] of this.#receiver.received) {
      if (path.startsWith(`/${folder}`)) posts.set(path.slice(1 + folder.length), records)
    }
    return posts
  }

  #log(text: string): void {
    if (!this.#settings.isJson) process.stderr.write(`${(performance.now() / 1_000).toFixed(1)} s: ${text}\n`)
  }
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .toString()
      .trim()
  } catch {
    return 'unknown'
  }
}

function settingsOf(words: readonly string[]): Settings {
  const { values } = parseArgs({
    args: [...words],
    options: {
      kills: { type: 'string' },
      minutes: { type: 'string' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000_007) },
      points: { type: 'string' },
      'all-points': { type: 'boolean', default: false },
      mutant: { type: 'string' },
      json: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
    },
  })
  const minutes = numberOf('--minutes', values.minutes ?? 'Infinity')
  const kills = numberOf('--kills', values.kills ?? (values.minutes === undefined ? '30' : 'Infinity'))
  const only = values.points?.split(',') ?? null
  for (const point of only ?? []) {
    if (!KILL_POINTS.some((known) => known === point))
      throw new Broken(`--points: there is no point "${point}"`)
  }
  if (values.mutant !== undefined && !(MUTANTS as readonly string[]).includes(values.mutant)) {
    throw new Broken(`--mutant is one of ${MUTANTS.join(', ')}, not "${values.mutant}"`)
  }
  return {
    kills,
    minutes,
    seed: numberOf('--seed', values.seed),
    only: only as readonly KillPoint[] | null,
    allPoints: values['all-points'],
    mutant: values.mutant ?? null,
    isJson: values.json,
    keep: values.keep,
  }
}

function numberOf(flag: string, text: string): number {
  const number = Number(text)
  if (text === '' || !(number >= 0)) throw new Broken(`${flag} is a number, not "${text}"`)
  return number
}

async function main(): Promise<number> {
  const settings = settingsOf(process.argv.slice(2))
  const dir = mkdtempSync(join(tmpdir(), 'millrace-crash-'))
  const receiver = new Receiver(settings.seed + 1)
  await receiver.listen()
  let isGood = false
  const test = new CrashTest(settings, dir, receiver)
  try {
    const { verdict, report } = await test.run()
    const covered = !settings.allPoints || (report.pointsUnmet as readonly string[]).length === 0
    isGood = isClean(verdict) && covered
    if (!covered)
      process.stderr.write(`never killed at: ${(report.pointsUnmet as readonly string[]).join(', ')}\n`)
    process.stdout.write(`${JSON.stringify(report)}\n`)
  } catch (error) {
    if (!(error instanceof Broken)) throw error
    process.stderr.write(`the run broke: ${error.message}\n`)
    process.stdout.write(
      `${JSON.stringify({ broken: error.message.split('\n')[0], seed: settings.seed, commit: commit() })}\n`,
    )
  } finally {
    for (const text of test.faults) process.stderr.write(`${text}\n`)
    receiver.close()
    if (isGood && !settings.keep) rmSync(dir, { recursive: true, force: true })
    else process.stderr.write(`seed ${settings.seed}, commit ${commit()}, directory ${dir}\n`)
  }
  return isGood ? 0 : 1
}

process.exitCode = await main()
