/** `millrace switch` over whole nodes: what a user does, and a process killed in the middle of it. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { json, MAIN, type Row, results, scratch, start, until, write, writePipeline } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const START_S = 1_767_225_600
const HOSTS = ['a', 'b', 'c', 'd', 'e']
const run = promisify(execFile)

interface Ran {
  readonly code: number | string
  readonly out: string
  readonly err: string
}

async function millrace(words: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const options = { env: { ...process.env, NO_COLOR: '1', ...env }, maxBuffer: 1 << 26 }
  try {
    const { stdout, stderr } = await run(process.execPath, [MAIN, ...words], options)
    return { code: 0, out: stdout, err: stderr }
  } catch (error) {
    const { code, signal, stdout, stderr } = error as {
      code: number
      signal: string
      stdout: string
      stderr: string
    }
    return { code: signal ?? code, out: stdout, err: stderr }
  }
}

/** Hosts wobble; from minute 200 to 300, over the switch, one is far off, and from 310 on another. They take turns in racks. */
function rows(from: number, to: number, isSpread = false): string {
  const lines: string[] = []
  for (let i = from; i < to; i++) {
    HOSTS.forEach((host, h) => {
      const off = (host === 'b' && i >= 200 && i < 300) || (host === 'd' && i >= 310 && i < 330) ? 40 : 0
      const labels = isSpread ? `${host},r${(i + h) % 4}` : host
      lines.push(`${START_S + 60 * i},${20 + h + ((i * 7 + h) % 5) + off},${labels}`)
    })
  }
  return `time,value,host${isSpread ? ',rack' : ''}\n${lines.join('\n')}\n`
}

interface Place {
  readonly dir: string
  readonly before: string
  readonly after: string
  readonly history: string
  readonly more: string
  readonly data: readonly string[]
  run(pipeline: string, file: string): Promise<Ran>
  switch(...words: string[]): Promise<Ran>
}

const BODY = (dir: string, detectors: string, by = 'host'): string =>
  `export default pipeline('load').from(topic('metrics', { partitions: 3, partitionBy: ['${by}'] })).groupBy('host')
    .disorder('1m').idle('3s').window(tumbling('1m'), { v: mean() })${detectors}
    .to(ndjsonFile({ path: ${JSON.stringify(join(dir, 'alerts.ndjson'))} }))
    .to(ndjsonFile({ path: ${JSON.stringify(join(dir, 'results.ndjson'))} }), { of: 'results', name: 'rows' })`
const OLD = `.detect('v', threshold({ above: 50 }), { name: 'high' }).detect('v', ewma({ warmUp: '30m' }), { name: 'odd' })`
const NEW = `.detect('v', ewma({ warmUp: '30m', threshold: 4, history: '2h' }), { name: 'odd' })
  .detect('v', threshold({ above: 60 }), { name: 'higher' }).detect('v', threshold({ below: 5 }), { name: 'low' })`

/** `isSpread`: the topic is partitioned by racks, so that each group lies in several partitions. */
function place(isSpread = false): Place {
  const dir = scratch(cleanups)
  const data = ['--data', join(dir, 'data')]
  const [labels, by] = isSpread ? ['host,rack', 'rack'] : ['host', 'host']
  writeFileSync(join(dir, 'history.csv'), rows(0, 240, isSpread))
  writeFileSync(join(dir, 'more.csv'), rows(240, 400, isSpread))
  return {
    dir,
    data,
    before: writePipeline(dir, BODY(dir, OLD, by), 'before.mjs'),
    after: writePipeline(dir, BODY(dir, NEW, by), 'after.mjs'),
    history: join(dir, 'history.csv'),
    more: join(dir, 'more.csv'),
    run: (pipeline, file) =>
      millrace(['run', pipeline, file, '--time', 'time', '--labels', labels, ...data, '--port', '0']),
    switch: (...words) => millrace(['switch', ...words, ...data]),
  }
}

/** All results of a stopped store, by a node that runs its present plan. */
async function rowsOf({ data }: Place, pipeline: string): Promise<Row[]> {
  const node = await start(['run', pipeline, ...data], cleanups)
  const found = await results(node.url, 'load')
  await node.kill('SIGTERM')
  return found
}

const CUT_MS = (START_S + 60 * 240) * 1_000
const byTime = (rows: readonly Row[]): string[] =>
  rows
    .map(({ group, windowEndMs, values, scores }) => JSON.stringify([windowEndMs, group, values, scores]))
    .sort()

/** Transitions in the sink's file, whatever their order over partitions. */
const alertsIn = (dir: string): string[] =>
  readFileSync(join(dir, 'alerts.ndjson'), 'utf8').trim().split('\n').sort()

interface Outcome {
  readonly rows: readonly string[]
  readonly alerts: readonly string[]
}

async function outcomeOf(isSpread: boolean, work: (here: Place) => Promise<void>): Promise<Outcome> {
  const here = place(isSpread)
  await work(here)
  return { rows: byTime(await rowsOf(here, here.after)), alerts: alertsIn(here.dir) }
}

describe.each([
  ['whole in a partition', false],
  ['spread over partitions', true],
])('a pipeline with other detectors, its groups %s', (_, isSpread) => {
  let undisturbed: Outcome | null = null

  test('goes on as one that always had them, tells each alert once, and everything that was can still be read', async () => {
    const here = place(isSpread)
    expect(await here.run(here.before, here.history)).toMatchObject({ code: 0 })
    // The change is refused, and the remedy names what can be done.
    const refused = await here.run(here.after, here.more)
    expect(refused.code).toBe(1)
    expect(refused.err).toContain('millrace switch')
    const dry = await here.switch(here.after, '--dry-run')
    expect(dry.out).toContain('nothing was changed')
    expect((await here.run(here.after, here.more)).code).toBe(1)

    const switched = await here.switch(here.after, '--json')
    expect(switched).toMatchObject({ code: 0 })
    const report = JSON.parse(switched.out) as {
      pipelines: {
        alerts: object
        groups: number
        detectors: { name: string; outcome: string; windows: number; warming: number }[]
      }[]
    }
    expect(report.pipelines[0]!.alerts).toEqual({ goesOn: 1, ended: 1, begun: 1 })
    expect(report.pipelines[0]!.groups).toBe(HOSTS.length)
    expect(report.pipelines[0]!.detectors).toMatchObject([
      { name: 'odd', outcome: 'changed', warming: 0 },
      { name: 'higher', outcome: 'new' },
      { name: 'low', outcome: 'new' },
      { name: 'high', outcome: 'gone' },
    ])
    expect(report.pipelines[0]!.detectors[0]!.windows).toBeGreaterThan(230)
    expect(await millrace(['verify', ...here.data])).toMatchObject({
      code: 0,
      out: expect.stringContaining('no fault found'),
    })
    expect(await here.run(here.after, here.more)).toMatchObject({ code: 0 })
    expect(await millrace(['verify', ...here.data])).toMatchObject({
      code: 0,
      out: expect.stringContaining('no fault found'),
    })

    const fresh = place(isSpread)
    expect(await fresh.run(fresh.after, fresh.history)).toMatchObject({ code: 0 })
    expect(await fresh.run(fresh.after, fresh.more)).toMatchObject({ code: 0 })
    const old = place(isSpread)
    expect(await old.run(old.before, old.history)).toMatchObject({ code: 0 })

    const mine = await rowsOf(here, here.after)
    const later = ({ windowEndMs }: Row): boolean => windowEndMs > CUT_MS
    const theirs = await rowsOf(fresh, fresh.after)
    expect(byTime(mine.filter(later))).toEqual(byTime(theirs.filter(later)))
    expect(mine.filter(later).length).toBe(160 * HOSTS.length)
    // What was before was judged by those who were there.
    const were = await rowsOf(old, old.before)
    expect(byTime(mine.filter((row) => !later(row)))).toEqual(byTime(were))

    // Sinks: every record once, in one file over the switch.
    const lines = (
      name: string,
    ): {
      id: string
      state: string
      detector: string
      group: { host: string }
      reason: string
      scores: object
    }[] =>
      readFileSync(join(here.dir, name), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
    const told = lines('results.ndjson')
    expect(told.length).toBe(400 * HOSTS.length)
    expect(Object.keys(told[0]!.scores)).toEqual(['high', 'odd'])
    expect(Object.keys(told.at(-1)!.scores)).toEqual(['odd', 'higher', 'low'])
    const alerts = lines('alerts.ndjson')
      .filter(({ group }) => group.host === 'b')
      .map(
        ({ detector, state, reason }) =>
          `${detector} ${state}${reason.includes('switch of detectors') ? ' switched' : ''}`,
      )
      .sort()
    expect(alerts).toEqual([
      'high firing',
      'high resolved switched',
      'higher firing switched',
      'higher resolved',
      'odd firing',
      'odd resolved',
    ])
    const after = lines('alerts.ndjson').filter(({ group }) => group.host === 'd')
    expect(after.map(({ detector, state }) => `${detector} ${state}`).sort()).toEqual([
      'higher firing',
      'higher resolved',
      'odd firing',
      'odd resolved',
    ])
  }, 120_000)

  test.each([
    ['state-begun', 'old'],
    ['state-written', 'old'],
    ['state-committed', 'new'],
  ])(
    'killed at %s: the store holds the %s state, whole; again, and it is as if nothing had happened',
    async (point, left) => {
      const here = place(isSpread)
      expect(await here.run(here.before, here.history)).toMatchObject({ code: 0 })
      const killed = await millrace(['switch', here.after, ...here.data], { MILLRACE_TEST_KILL_AT: point })
      expect(killed.code).toBe('SIGKILL')
      expect(await millrace(['verify', ...here.data])).toMatchObject({
        code: 0,
        out: expect.stringContaining('no fault found'),
      })
      const again = await here.switch(here.after)
      expect(again.code).toBe(0)
      if (left === 'new') expect(again.out).toContain('its plan is the one in the store')
      else expect(again.out).toContain('1 go on under their ids, 1 ended, 1 begun')
      expect(await here.run(here.after, here.more)).toMatchObject({ code: 0 })
      undisturbed ??= await outcomeOf(isSpread, async (whole) => {
        await whole.run(whole.before, whole.history)
        await whole.switch(whole.after)
        await whole.run(whole.after, whole.more)
      })
      const { rows, alerts } = undisturbed
      expect({ rows: byTime(await rowsOf(here, here.after)), alerts: alertsIn(here.dir) }).toEqual({
        rows,
        alerts,
      })
    },
    120_000,
  )

  test('a node that was killed left its checkpoint behind: the switch is at what was committed', async () => {
    const here = place(isSpread)
    const node = await start(['run', here.before, ...here.data], cleanups)
    const lines = (from: number, to: number): string =>
      rows(from, to, isSpread)
        .trim()
        .split('\n')
        .slice(1)
        .map((row) => row.split(','))
        .map(
          ([at, value, host, rack]) =>
            `history,host=${host}${isSpread ? `,rack=${rack}` : ''} value=${value} ${Number(at) * 1_000}`,
        )
        .join('\n')
    for (let i = 0; i < 240; i += 20) await write(node.url, lines(i, i + 20))
    const committed = await until(async () => {
      const page = await results(node.url, 'load')
      return page.length >= 230 * HOSTS.length ? page : null
    })
    await node.kill('SIGKILL')
    expect((await here.switch(here.after)).err).toBe('')
    expect(await millrace(['verify', ...here.data])).toMatchObject({
      code: 0,
      out: expect.stringContaining('no fault found'),
    })
    const on = await start(['run', here.after, ...here.data, '--score-series', '10'], cleanups)
    for (let i = 240; i < 400; i += 20) await write(on.url, lines(i, i + 20))
    const all = await until(async () => {
      const page = await results(on.url, 'load')
      return page.length >= 395 * HOSTS.length ? page : null
    })
    const text = ({ id, ...row }: Row): string => `${id} ${JSON.stringify(row)}`
    expect(all.map(text)).toEqual(expect.arrayContaining(committed.map(text)))
    const fresh = place(isSpread)
    await fresh.run(fresh.after, fresh.history)
    await fresh.run(fresh.after, fresh.more)
    const theirs = new Set(
      byTime((await rowsOf(fresh, fresh.after)).map((row) => ({ ...row, group: { host: row.group.host! } }))),
    )
    const mine = byTime(
      all
        .filter(({ windowEndMs }) => windowEndMs > CUT_MS + 60_000)
        .map((row) => ({ ...row, group: { host: row.group.host! } })),
    )
    expect(mine.length).toBeGreaterThan(150 * HOSTS.length)
    expect(mine.filter((row) => !theirs.has(row))).toEqual([])
    // The page and the metrics go on over entries of both plans.
    const metrics = await (await fetch(`${on.url}/metrics`)).text()
    expect(metrics).toMatch(/millrace_series_score\{[^}]*detector="higher"/)
    await on.kill('SIGTERM')
  }, 120_000)

  test('back and forth: entries of every plan can be read, and the first plan’s state is not taken for the last one’s', async () => {
    const here = place(isSpread)
    await here.run(here.before, here.history)
    await here.switch(here.after)
    await here.run(here.after, here.more)
    expect((await here.switch(here.before)).code).toBe(0)
    writeFileSync(join(here.dir, 'last.csv'), rows(400, 450, isSpread))
    expect(await here.run(here.before, join(here.dir, 'last.csv'))).toMatchObject({ code: 0 })
    expect(await millrace(['verify', ...here.data])).toMatchObject({
      code: 0,
      out: expect.stringContaining('no fault found'),
    })
    const found = await rowsOf(here, here.before)
    const names = (at: number): string[] =>
      Object.keys(found.find(({ windowEndMs }) => windowEndMs === (START_S + 60 * at) * 1_000)!.scores)
    expect([names(100), names(300), names(420)]).toEqual([
      ['high', 'odd'],
      ['odd', 'higher', 'low'],
      ['high', 'odd'],
    ])
  }, 120_000)
})

describe('what can not be switched is refused by name, and nothing is changed', () => {
  test('windows, new pipelines with spread groups, topics without history, a node that runs, words that are none', async () => {
    const here = place()
    expect((await here.switch(here.after)).err).toMatch(/no store|is not there|does not exist/i)
    await here.run(here.before, here.history)
    const windows = writePipeline(
      here.dir,
      BODY(here.dir, NEW).replace("tumbling('1m')", "tumbling('2m')"),
      'windows.mjs',
    )
    const refused = await here.switch(windows)
    expect(refused.code).toBe(1)
    expect(refused.err).toMatch(/load\.window\.sizeMs.*a switch changes detectors and their alerts alone/)
    const spread = writePipeline(
      here.dir,
      `export default pipeline('spread').from(topic('metrics', { partitions: 3, partitionBy: ['host'] })).groupBy('zone')
        .window(tumbling('1m'), { v: mean() }).detect('v', ewma())`,
      'spread.mjs',
    )
    expect((await here.switch(spread)).err).toMatch(
      /spread\.groupBy: the store has no such pipeline, and its groups are spread over partitions/,
    )
    const nothing = writePipeline(
      here.dir,
      `export default pipeline('n').from(topic('nothing')).window(tumbling('1m'), { v: mean() })`,
      'n.mjs',
    )
    expect((await here.switch(nothing)).err).toMatch(/the log has no such topic/)
    expect((await here.switch(here.after, '--warm-from', 'yore')).err).toMatch(
      /--warm-from.*neither a time nor an offset/,
    )
    expect(await here.switch()).toMatchObject({ code: 2 })
    const node = await start(['run', here.before, ...here.data], cleanups)
    expect((await here.switch(here.after)).err).toMatch(/is owned by process/)
    await node.kill('SIGTERM')
    const same = await here.switch(here.before)
    expect(same.out).toContain('load: its plan is the one in the store')
    expect(existsSync(join(here.dir, 'data'))).toBe(true)
  }, 120_000)

  test('history that is shorter than the warm-up, or than was asked for, is said and no error', async () => {
    const here = place()
    await here.run(here.before, here.history)
    const slow = writePipeline(
      here.dir,
      BODY(here.dir, `.detect('v', ewma({ warmUp: '1d', history: '7d' }))`),
      'slow.mjs',
    )
    const told = await here.switch(slow, '--warm-from', '7d')
    expect(told).toMatchObject({ code: 0 })
    expect(told.out).toMatch(/v-ewma, new: 240 windows .*5 of 5 groups still warm up: .*\{host="a"\}/)
    expect(told.out).toContain('The log does not reach as far back as that')
    const none = await here.switch(here.before, '--warm-from', 'end')
    expect(none.out).toContain('history: none; what is new begins blind')
  }, 120_000)

  test('a new pipeline begins at the end of the log, and is not blind', async () => {
    const here = place()
    await here.run(here.before, here.history)
    const fresh = writePipeline(
      here.dir,
      BODY(here.dir, NEW).replace(`pipeline('load')`, `pipeline('other')`).replaceAll('.ndjson', '2.ndjson'),
      'other.mjs',
    )
    const told = await here.switch(fresh)
    expect(told.out).toMatch(/other: new, and begins at .*the end of the log/)
    expect(told.out).toMatch(/odd, new: 240 windows .* every group can be judged/)
    expect(await millrace(['verify', ...here.data])).toMatchObject({
      code: 0,
      out: expect.stringContaining('no fault found'),
    })
    expect(await here.run(fresh, here.more)).toMatchObject({ code: 0 })
    const lines = readFileSync(join(here.dir, 'results2.ndjson'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.length).toBe(160 * HOSTS.length)
    expect(lines.filter(({ scores }) => scores.odd.score === null)).toEqual([])
  }, 120_000)
})

test('what is silenced stays untold through a switch, and is told by the new detectors once the silence ends', async () => {
  const here = place()
  let node = await start(['run', here.before, ...here.data], cleanups)
  const silences = (): string => `${node.url}/api/v1/silences`
  const body = JSON.stringify({ match: ['host=b'], for: '1h', comment: 'a test' })
  expect((await fetch(silences(), { method: 'POST', body })).status).toBe(201)
  await node.kill('SIGTERM')
  expect(await here.run(here.before, here.history)).toMatchObject({ code: 0 })
  expect(await here.switch(here.after)).toMatchObject({ code: 0 })
  const sound = async (): Promise<void> => {
    const verified = await millrace(['verify', ...here.data])
    expect(verified).toMatchObject({ code: 0, out: expect.stringContaining('no fault found') })
  }
  await sound()
  const told = (): string[] =>
    alertsIn(here.dir)
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { detector: string; state: string; group: { host: string } })
      .map(({ group, detector, state }) => `${group.host} ${detector} ${state}`)
      .sort()
  node = await start(['run', here.after, ...here.data], cleanups)
  expect(told()).toEqual([])
  const { rows: standing } = await json<{ rows: { detector: string; silencedBy?: number }[] }>(
    `${node.url}/api/v1/alerts`,
  )
  expect(standing.map(({ detector, silencedBy }) => [detector, silencedBy]).sort()).toEqual([
    ['higher', 1],
    ['odd', 1],
  ])
  expect((await fetch(`${silences()}?id=1`, { method: 'DELETE' })).status).toBe(200)
  await until(async () => (told().length === 2 ? true : null))
  await node.kill('SIGTERM')
  expect(await here.run(here.after, here.more)).toMatchObject({ code: 0 })
  await sound()
  expect(told().filter((line) => line.startsWith('b'))).toEqual([
    'b higher firing',
    'b higher resolved',
    'b odd firing',
    'b odd resolved',
  ])
}, 120_000)
