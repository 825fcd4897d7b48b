import { createContext, Script } from 'node:vm'
import { afterEach, describe, expect, it } from 'vitest'
import type { Alert } from '../../engine/contract/alert.ts'
import type { PipelineStatus, Queries } from '../../engine/contract/queries.ts'
import { NO_QUERIES, send, start, stopAll, until } from '../../test/http/fixture.ts'
import { TinyDocument } from '../../test/http/tiny-document.ts'
import { livePage } from './index.ts'
import { PAGE_HTML } from './page.ts'
import { PAGE_SCRIPT } from './script.ts'
import { PAGE_STYLE } from './style.ts'

afterEach(stopAll)

describe('the status page', () => {
  it('is served whole by the server that it asks', async () => {
    const { port } = await start({ assets: livePage })
    const page = await send(port, 'GET', '/')
    const linked = [...page.text.matchAll(/(?:href|src)="([^"]+)"/g)].map(([, path]) => path!)
    expect(linked).toContain('/live.js')
    for (const path of linked) expect((await send(port, 'GET', path)).status, path).toBe(200)
    for (const [, path] of PAGE_SCRIPT.matchAll(/ask\('([^']+)'\)/g)) {
      expect((await send(port, 'GET', path!)).status, path).toBe(200)
    }
  })

  it('holds no inline code or style and asks nobody else', () => {
    expect(PAGE_HTML).not.toMatch(/<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=/)
    for (const { body } of livePage) {
      expect(body.replace('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|\/\/[a-z]+\.|url\(|@import/)
    }
  })

  it('never makes markup of what samples contain', () => {
    expect(PAGE_SCRIPT).not.toMatch(/innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(/)
  })

  it('has a script that parses, and every element that it fills', () => {
    expect(() => new Script(PAGE_SCRIPT)).not.toThrow()
    const ids = [...PAGE_SCRIPT.matchAll(/\$\('([^']+)'\)/g)].map(([, id]) => id!)
    expect(ids.length).toBeGreaterThan(5)
    for (const id of ids) expect(PAGE_HTML).toContain(`id="${id}"`)
  })

  it('styles every class that it uses', () => {
    const classes = new Set(
      [...PAGE_HTML.matchAll(/class="([^"]+)"/g), ...PAGE_SCRIPT.matchAll(/className = '([a-z]+)'/g)].flatMap(
        ([, names]) => names!.split(' '),
      ),
    )
    for (const name of classes) expect(PAGE_STYLE).toContain(`.${name}`)
  })

  const alert: Alert = {
    kind: 'alert',
    id: 'disk/full/0/1/5000',
    pipeline: 'disk',
    detector: 'full',
    column: 'used',
    group: { __name__: 'disk_used', host: '<b>a</b>' },
    state: 'firing',
    sinceMs: 5_000,
    atMs: 6_000,
    value: 97.123456,
    score: 2,
    expected: 50,
    lower: null,
    upper: 90,
    direction: 'up',
    reason: 'used 97 is above 90',
  }
  const disk: PipelineStatus = {
    name: 'disk',
    topic: 'metrics',
    state: 'failed',
    problem: 'a detector threw',
    plan: {
      plan: 1,
      name: 'disk',
      topic: { name: 'metrics', partitions: 2, partitionBy: null },
      where: [],
      groupBy: null,
      disorderMs: 0,
      idleMs: 0,
      window: { kind: 'tumbling', options: {}, sizeMs: 1, everyMs: 1, sliceMs: 1 },
      aggregates: [],
      detectors: [],
      sinks: [],
    },
    partitions: [
      { partition: 0, position: 10, endOffset: 1_012, lag: 1_002, watermarkMs: null },
      { partition: 1, position: 10, endOffset: 11, lag: 1, watermarkMs: 20_000 },
    ],
    ledger: { in: 20, windowed: 17, filtered: 1, late: 2, nonFinite: 0, dead: 0 },
    alertsPending: 0,
    alertsFiring: 1,
  }

  /** Runs the script over a node that answers `queries`, until the page shows what it found. */
  async function shown(queries: Partial<Queries>): Promise<TinyDocument> {
    const { port } = await start({ assets: livePage, queries: { ...NO_QUERIES, ...queries } })
    const document = new TinyDocument([...PAGE_HTML.matchAll(/id="([^"]+)"/g)].map(([, id]) => id!))
    const browser = createContext({
      document,
      AbortSignal,
      fetch: (path: string, options: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, options),
      setTimeout: () => 0,
    })
    new Script(PAGE_SCRIPT).runInContext(browser)
    await until(() => document.getElementById('state').textContent !== '')
    return document
  }

  it('shows alerts, pipelines and what is wrong with them', async () => {
    const status = async () => ({ ...(await NO_QUERIES.status()), nowMs: 65_000, logBytes: 12_345_678 })
    const document = await shown({ status, alerts: async () => [alert], pipelines: async () => [disk] })
    const text = (id: string) => document.getElementById(id).textContent
    expect(document.getElementById('problem').hidden).toBe(true)
    expect([text('state'), document.title]).toEqual(['1 failed', '(1) millrace'])
    expect(text('tiles')).toContain('Log 12.3 MB')
    expect(text('alerts')).toContain('firing disk / full disk_used host=<b>a</b> 60 s 97.123 – … 90 used 97')
    expect(text('pipelines')).toContain('disk failed metrics 1 1,003 45 s 20 17 1 2 0 0 a detector threw')
    const cells = document.getElementById('pipelines').all('td')
    expect(cells.every(({ dataset }) => dataset.label !== undefined)).toBe(true)
    expect(document.getElementById('alerts').all('b')).toEqual([])
    expect([text('topics'), text('threads')]).toEqual(['No topics.', 'No threads.'])
  })

  it('says that what it shows may be old when the node does not answer', async () => {
    const status = async () => {
      throw new TypeError('broken')
    }
    const document = await shown({ status })
    expect(document.getElementById('state').textContent).toBe('no answer')
    expect(document.getElementById('problem').hidden).toBe(false)
    expect(document.getElementById('problem').textContent).toContain('What is below may be old')
  })
})
