/**
 * The live page in a real Chromium, over a real node: series appear, a disturbance shows as an alert and resolves, themes,
 * phone width, keyboard, accessibility, 200 series. Skipped, by name, where there is no Chromium.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import axe from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import {
  json,
  launch,
  type Running,
  results,
  scratch,
  start,
  until,
  write,
  writePipeline,
} from './process.ts'

const PLACES = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/opt/google/chrome/chrome',
]
const found = [process.env.CHROMIUM ?? '', ...PLACES].find((path) => path !== '' && existsSync(path))
const WAIT_MS = 60_000

interface Opened {
  readonly page: Page
  /** Errors and warnings of the console, exceptions, and requests to anyone but the node. */
  readonly complaints: string[]
}

describe.skipIf(found === undefined)('the live page in Chromium', () => {
  const cleanups: (() => unknown)[] = []
  const pages: Page[] = []
  let browser: Browser
  let demo: Running
  let disturbed: ReturnType<typeof launch>

  beforeAll(async () => {
    const dir = scratch(cleanups)
    // Beside the node that the button disturbs, one that disturbs itself.
    disturbed = launch(['demo', '--disturb', '--data', join(dir, 'itself'), '--port', '0'], cleanups)
    demo = await start(['demo', '--data', join(dir, 'demo')], cleanups)
    // Chromium's own sandbox needs rights that root in a container lacks.
    browser = await chromium.launch({ executablePath: found!, args: ['--no-sandbox'] })
    cleanups.push(() => browser.close())
  })

  afterEach(async () => {
    for (const page of pages.splice(0)) await page.context().close()
  })

  afterAll(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  async function open(options: BrowserContextOptions = {}, url = demo.url): Promise<Opened> {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options })
    const page = await context.newPage()
    pages.push(page)
    page.setDefaultTimeout(WAIT_MS)
    const complaints: string[] = []
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
    })
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('request', (request) => {
      if (!request.url().startsWith(`${url}/`)) complaints.push(`asks ${request.url()}`)
    })
    await page.goto(`${url}/`)
    await page.waitForSelector('html[data-ready] .card')
    return { page, complaints }
  }

  /** A node that judges every series each second, and samples of it: lines without their time, by the second. */
  async function startRacks(
    detector: string,
  ): Promise<{ readonly url: string; send(second: number, lines: readonly string[]): Promise<void> }> {
    const dir = scratch(cleanups)
    const pipeline = writePipeline(
      dir,
      `export default pipeline('racks').from(topic('metrics')).disorder(0).window(tumbling('1s'), { mean: mean() })
        .detect('mean', ${detector})`,
    )
    const { url } = await start(['run', pipeline, '--data', join(dir, 'data')], cleanups)
    const fromMs = Math.floor(Date.now() / 1_000) * 1_000 - 60_000
    const send = async (second: number, lines: readonly string[]): Promise<void> => {
      const body = lines.map((text) => `${text} ${fromMs + second * 1_000}`).join('\n')
      expect((await write(url, body)).status).toBe(204)
    }
    return { url, send }
  }

  /** What axe finds that is serious or worse. */
  async function faults(page: Page): Promise<string[]> {
    await page.evaluate(axe.source)
    const { violations } = (await page.evaluate('axe.run()')) as axe.AxeResults
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`)
  }

  /** In the page. */
  async function ask<T>(page: Page, expression: string): Promise<T> {
    return (await page.evaluate(expression)) as T
  }

  test('series appear with their values, and nothing is asked of anyone else; both themes are accessible', async () => {
    const { page, complaints } = await open({ colorScheme: 'dark' })
    const card = page.locator('.card', { hasText: 'host_memory_used_ratio' }).first()
    await card.waitFor()
    expect(Number(await card.locator('.value').textContent())).toBeGreaterThan(0)
    await card.locator('canvas').waitFor()
    expect(await page.locator('#state').textContent()).toBe('live')
    expect(await page.locator('.plan').count()).toBe(5)
    expect(await faults(page)).toEqual([])
    expect(await ask(page, 'document.documentElement.dataset.theme')).toBe('dark')
    await page.click('#theme')
    expect(await ask(page, 'document.documentElement.dataset.theme')).toBe('light')
    expect(await faults(page)).toEqual([])
    // It is remembered.
    await page.reload()
    await page.waitForSelector('html[data-theme="light"] .card')
    expect(complaints).toEqual([])
  })

  test('the button disturbs this machine: an alert fires with its reason, and resolves', async () => {
    const { page, complaints } = await open()
    // Before it knows what is normal it would learn the disturbance.
    await page.waitForSelector('#disturb[aria-disabled="false"]')
    await page.click('#disturb')
    await page.locator('#disturb', { hasText: 'Burning CPU' }).waitFor()
    const alert = page.locator('#alerts-now .alert.firing', { hasText: 'process_cpu_demand_cores' }).first()
    await alert.waitFor()
    expect(await alert.locator('.reason').textContent()).toMatch(/^mean .* above/)
    await page.locator('.card.firing', { hasText: 'process_cpu_demand_cores' }).first().waitFor()
    expect(await page.locator('#tiles .tile.firing dd').textContent()).toMatch(/^[1-9]/)
    expect(await page.title()).toMatch(/^\([1-9]\d*\) millrace$/)
    expect(await faults(page)).toEqual([])
    // Said aloud too.
    expect(await page.locator('#voice').textContent()).toContain('process_cpu_demand_cores')
    const over = page.locator('#alerts-recent .event.resolved', { hasText: 'process_cpu_demand_cores' })
    await over.first().waitFor()
    await page.locator('.card.ok', { hasText: 'process_cpu_demand_cores' }).first().waitFor()
    expect(complaints).toEqual([])
  })

  test('what a person says of an alert changes the band, stands beside it on every page, and is taken back', async () => {
    const racks = await startRacks(`ewma({ warmUp: '20s' })`)
    const temperature = (second: number, value: number): Promise<void> =>
      racks.send(second, [`temp,host=a value=${value}`])
    // Steady, far off for two seconds, and steady again.
    for (let second = 0; second < 50; second++) {
      await temperature(second, second === 40 || second === 41 ? 60 : 20 + ((second * 7) % 5))
    }
    const { page, complaints } = await open({}, racks.url)
    const event = (on: Page): Locator => on.locator('#alerts-recent .event.resolved', { hasText: 'host=a' })
    await event(page).getByRole('button', { name: 'Expected' }).click()
    await event(page)
      .locator('.say', { hasText: 'Said; the band was made 2 times as wide as learned.' })
      .waitFor()
    expect(await page.locator('#voice').textContent()).toContain('Said; the band')
    const told = await json<{ rows: object[] }>(`${racks.url}/api/v1/feedback`)
    expect(told.rows).toMatchObject([{ says: 'expected', by: 'the live page', undoneBy: null }])
    expect(await faults(page)).toEqual([])
    const other = await open({ viewport: { width: 390, height: 800 } }, racks.url)
    const undo = event(other.page).getByRole('button', { name: 'Undo' })
    await undo.waitFor()
    expect(await ask(other.page, 'document.documentElement.scrollWidth')).toBeLessThanOrEqual(390)
    await undo.click()
    await event(other.page)
      .locator('.say', { hasText: 'Taken back: the band is as wide as learned.' })
      .waitFor()

    // In the dialog of a series: the window that just ended should have alerted, and then that is taken back.
    await page.locator('.card.ok', { hasText: 'host=a' }).click()
    await page.locator('#detail-missed').waitFor()
    expect(await page.inputValue('#detail-missed-at')).toMatch(/^20\d\d-/)
    await page.click('#detail-missed-say')
    await page.locator('#detail-missed-said', { hasText: /The band of .* from now on/ }).waitFor()
    expect(await faults(page)).toEqual([])
    await page.click('#detail-missed-undo')
    await page.locator('#detail-missed-said', { hasText: 'is taken back' }).waitFor()
    await page.locator('#detail-missed-undo').waitFor({ state: 'hidden' })
    expect([...complaints, ...other.complaints]).toEqual([])
  })

  test('millrace demo --disturb does the same by itself, once it is warm', async () => {
    const after = (): string => disturbed.text().split('threads burn CPU for 8 s')[1] ?? ''
    await until(async () => (after().includes('resolved  millrace-itself/') ? true : null), WAIT_MS)
    expect(after()).toMatch(/firing {4}millrace-itself\/\w+ process_cpu_demand_cores\{.* above /)
    await disturbed.kill('SIGINT')
  })

  test('the keyboard finds a series, opens its history, and comes back', async () => {
    const { page, complaints } = await open()
    await page.keyboard.press('/')
    expect(await ask(page, 'document.activeElement.id')).toBe('search')
    await page.keyboard.type('disk')
    const shown = page.locator('.card:visible')
    await until(async () => ((await shown.count()) > 0 ? true : null))
    for (const text of await shown.allTextContents()) expect(text).toContain('disk')
    await page.keyboard.press('ArrowDown')
    const first = await ask<string>(page, 'document.activeElement.closest(".card").dataset.series')
    await page.keyboard.press('ArrowRight')
    const second = await ask<string>(page, 'document.activeElement.closest(".card").dataset.series')
    expect(second).not.toBe(first)
    await page.keyboard.press('ArrowLeft')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#detail[open] canvas')
    await page.locator('#detail-state', { hasText: /^\d.* windows$/ }).waitFor()
    expect(await page.locator('#detail-title').textContent()).toContain('disk')
    expect(await faults(page)).toEqual([])
    // As a link, it leads to the same.
    expect(decodeURIComponent(page.url())).toContain(`#series=${first}`)
    await page.keyboard.press('Escape')
    await page.waitForSelector('#detail', { state: 'hidden' })
    expect(await ask(page, 'document.activeElement.closest(".card").dataset.series')).toBe(first)
    await page.keyboard.press('?')
    await page.waitForSelector('#help[open]')
    await page.keyboard.press('Escape')
    await page.focus('#search')
    await page.keyboard.press('Escape')
    expect(await page.inputValue('#search')).toBe('')
    await page.keyboard.press('t')
    expect(await ask(page, 'document.documentElement.dataset.theme')).toBe('dark')
    // Where the focus is can be seen.
    await page.keyboard.press('Tab')
    const outline = 'getComputedStyle(document.activeElement).outlineStyle'
    expect(await ask(page, outline)).toBe('solid')
    expect(complaints).toEqual([])
  })

  test('fits a phone of 390 px in both themes, and holds still for who wants that', async () => {
    for (const colorScheme of ['light', 'dark'] as const) {
      const phone = { viewport: { width: 390, height: 844 }, colorScheme, reducedMotion: 'reduce' as const }
      const { page, complaints } = await open(phone)
      await page.click('.plan .toggle')
      await page.waitForSelector('.graph svg')
      expect(await ask(page, 'document.documentElement.scrollWidth')).toBeLessThanOrEqual(390)
      expect(await ask(page, 'getComputedStyle(document.querySelector(".flow")).animationName')).toBe('none')
      expect(await page.locator('.graph text.about', { hasText: 'topic, ' }).first().isVisible()).toBe(true)
      expect(await faults(page)).toEqual([])
      await page.locator('.card-open').first().click()
      await page.waitForSelector('#detail[open] canvas')
      const width = 'document.getElementById("detail").getBoundingClientRect().right'
      expect(await ask(page, width)).toBeLessThanOrEqual(390)
      expect(complaints).toEqual([])
    }
  })

  test('alerts that belong together stand together, and the node is asked for them seldom', async () => {
    const racks = await startRacks('threshold({ above: 90 })')
    const send = (second: number, value: number, late = value): Promise<void> => {
      const hosts = ['a', 'b', 'c', 'd', 'e'].map((host) => `temp,host=${host},rack=7 value=${value}`)
      return racks.send(second, [...hosts, `temp,host=z,rack=7 value=${late}`, `flow,pump=3 value=${value}`])
    }
    for (let second = 0; second < 3; second++) await send(second, 20)
    const { page, complaints } = await open({}, racks.url)
    const askedMs: number[] = []
    page.on('request', (request) => {
      if (request.url().includes('/api/v1/incidents')) askedMs.push(performance.now())
    })
    const incident = page.locator('#incidents-list .incident')
    expect(await page.locator('#incidents').isVisible()).toBe(false)
    // One begins after the others: it is the one that is left out.
    await send(3, 95, 20)
    await send(4, 95)
    await send(5, 95)
    await incident.waitFor()
    expect(await incident.locator('.pill').textContent()).toBe('firing')
    expect(await incident.locator('.shared').textContent()).toBe('temp rack=7')
    expect(await incident.locator(':scope > .quiet').allTextContents()).toEqual([
      expect.stringMatching(/^6 alerts since (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d$/),
      'and 1 more',
    ])
    const parts = ['a', 'b', 'c', 'd', 'e'].map((host) => `host=${host}`)
    expect((await incident.locator('.parts .link').allTextContents()).sort()).toEqual(parts)
    expect(await incident.locator('.parts .reason').first().textContent()).toMatch(/ 90/)
    expect(await page.locator('#incidents-list > .quiet').allTextContents()).toEqual([
      'One more alert stands alone.',
    ])
    expect(await page.locator('#incidents-summary').textContent()).toBe('1 firing, 0 over in an hour')
    expect(await faults(page)).toEqual([])
    await page.click('#theme')
    expect(await faults(page)).toEqual([])
    // The focus stays where it was when the incident is told anew.
    const first = incident.locator('.parts .link').first()
    await first.focus()
    const focused = await ask<string>(page, 'document.activeElement.dataset.alert')
    for (let second = 6; second < 9; second++) await send(second, 20)
    await incident.locator('.pill', { hasText: 'over' }).waitFor()
    expect(await incident.getAttribute('class')).toContain('resolved')
    expect(await incident.locator('.age').first().textContent()).toBe('lasted 3.0 s')
    expect(await ask(page, 'document.activeElement.dataset.alert')).toBe(focused)
    expect(await page.locator('#incidents-summary').textContent()).toBe('0 firing, 1 over in an hour')
    expect(await faults(page)).toEqual([])
    await page.keyboard.press('Enter')
    await page.waitForSelector('#detail[open]')
    expect(await page.locator('#detail-title').textContent()).toContain('rack=7')
    const pauses = askedMs.slice(1).map((ms, i) => ms - askedMs[i]!)
    expect(pauses.length).toBeGreaterThan(0)
    for (const pauseMs of pauses) expect(pauseMs).toBeGreaterThan(9_500)
    expect(complaints).toEqual([])
  })

  test('an alert that stands is silenced for an hour, and the silence ended', async () => {
    const racks = await startRacks('threshold({ above: 90 })')
    for (let second = 0; second < 5; second++) {
      const value = second < 3 ? 20 : 95
      await racks.send(
        second,
        ['a', 'b'].map((host) => `temp,host=${host} value=${value}`),
      )
    }
    const { page, complaints } = await open({}, racks.url)
    const alert = page.locator('#alerts-now .alert.firing', { hasText: 'host=b' })
    await alert.waitFor()
    expect(await page.locator('#silences').isVisible()).toBe(false)
    // One fixed bound: there is no band to widen.
    expect(await alert.getByRole('button', { name: 'Expected' }).count()).toBe(0)
    await alert.getByRole('button', { name: 'Silence 1 h' }).click()
    await alert.locator('.mark.silenced', { hasText: 'silenced by 1' }).waitFor()
    const silence = page.locator('#silences-list .silence')
    expect(await silence.locator('.reason').textContent()).toBe(
      'name="temp", host="b", pipeline racks, detector mean-threshold',
    )
    expect(await silence.locator('.age').textContent()).toMatch(/^for (1\.0 h|60 min|59)/)
    expect(await faults(page)).toEqual([])
    await page.click('#theme')
    expect(await faults(page)).toEqual([])
    expect(await page.locator('#alerts-now .mark.silenced').count()).toBe(1)
    await silence.getByRole('button', { name: 'End silence 1' }).click()
    await page.locator('#silences').waitFor({ state: 'hidden' })
    await alert.getByRole('button', { name: 'Silence 1 h' }).waitFor()
    await page.setViewportSize({ width: 390, height: 800 })
    expect(await ask(page, 'document.documentElement.scrollWidth')).toBeLessThanOrEqual(390)
    // A node that is gone is said where it was asked.
    await page.route('**/api/v1/silences', (route) =>
      route.fulfill({ status: 400, json: { error: 'not now' } }),
    )
    await alert.getByRole('button', { name: 'Silence 1 h' }).click()
    await alert.locator('.say', { hasText: 'not now' }).waitFor()
    expect(complaints.filter((text) => !text.includes('status of 400'))).toEqual([])
  })

  test('200 series: all are there, only those in view are drawn, and all go on; a node that is gone is told', async () => {
    const dir = scratch(cleanups)
    const pipeline = writePipeline(
      dir,
      `export default pipeline('many').from(topic('metrics')).disorder(0).window(tumbling('1s'), { mean: mean() })
        .detect('mean', threshold({ above: 190 }))`,
    )
    const node = await start(['run', pipeline, '--data', join(dir, 'data')], cleanups)
    const fromMs = Math.floor(Date.now() / 1_000) * 1_000 - 60_000
    const send = async (second: number): Promise<void> => {
      const lines = Array.from(
        { length: 200 },
        (_, i) => `m,n=${i} value=${i + 1} ${fromMs + second * 1_000}`,
      )
      expect((await write(node.url, lines.join('\n'))).status).toBe(204)
    }
    for (let second = 0; second < 20; second++) await send(second)
    await until(async () => ((await results(node.url, 'many')).length >= 200 * 15 ? true : null), WAIT_MS)
    const { page, complaints } = await open({}, node.url)
    const cards = page.locator('.card')
    await until(async () => ((await cards.count()) === 200 ? true : null), WAIT_MS)
    await page.waitForSelector('.card canvas')
    const names = await page.locator('.card .name').allTextContents()
    expect(names.slice(0, 3)).toEqual(['n=0', 'n=1', 'n=2'])
    const canvases = await page.locator('.card canvas').count()
    expect(canvases).toBeLessThan(100)
    // Ten are beyond the bound.
    await page.locator('#alerts-summary', { hasText: '10 firing' }).waitFor()
    await page.click('#only')
    await until(async () => ((await page.locator('.card:visible').count()) === 10 ? true : null))
    await page.click('#only')
    // The last of them, scrolled to, is drawn and goes on.
    const last = cards.last()
    await last.scrollIntoViewIfNeeded()
    await last.locator('canvas').waitFor()
    const name = (await last.getAttribute('data-series'))!
    const live = await json<{ rows: unknown[] }>(`${node.url}/api/v1/pipelines`)
    expect(live.rows).toHaveLength(1)
    await page.fill('#search', `n=${/"n","(\d+)"/.exec(name)![1]}`)
    const lines = Array.from({ length: 200 }, (_, i) => `m,n=${i} value=777 ${fromMs + 30_000}`)
    expect((await write(node.url, lines.join('\n'))).status).toBe(204)
    await send(33)
    await page.locator('.card:visible .value', { hasText: '777' }).first().waitFor()
    expect(complaints).toEqual([])
    await node.kill('SIGKILL')
    await page.waitForSelector('#lost:visible')
    expect(await page.locator('#lost').textContent()).toContain('may be old')
  })
})
