/** The report of a backtest in a real Chromium: no request, no complaint, both themes accessible, right on a phone. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import axe from 'axe-core'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { launch, scratch, writePipeline } from './process.ts'

const START_MS = 1_767_225_600_000
const MINUTE_MS = 60_000
const MINUTES = 2_000
/** The course of 2,000 windows is kept two by two. */
const STEP_MS = 2 * MINUTE_MS
/** Of ewma: no step before it is judged. */
const WARM_STEPS = 12
const timeText = (ms: number): string => new Date(ms).toISOString().replace('T', ' ').replace('.000Z', 'Z')

/** The first chart, whose values are known: read, zoomed into and out of, by pointer and by keys. */
async function useChart(page: Page, valueAt: (minute: number) => number): Promise<void> {
  const chart = page.locator('article.card', { hasText: 'host="a"' }).locator('.chart')
  const plot = chart.locator('.plot')
  const text = (): Promise<string> =>
    chart
      .locator('.read')
      .textContent()
      .then((told) => told ?? '')
  const axis = async (): Promise<string[]> => chart.locator('.axis span').allInnerTexts()
  const firstMs = START_MS + MINUTE_MS
  const stepMs = (step: number): number => firstMs + step * STEP_MS
  const lastStep = MINUTES / 2 - 1
  const whole = [timeText(firstMs), '50 to 400', timeText(stepMs(lastStep))]
  const expectRead = async (step: number): Promise<void> => {
    const two = [valueAt(2 * step), valueAt(2 * step + 1)]
    const [least, most] = [Math.min(...two), Math.max(...two)]
    const value = least === most ? `${least}` : `${least} to ${most}`
    const number = String.raw`-?[\d.]+(e[+-]\d+)?`
    const isJudged = step >= WARM_STEPS
    const judged = `expected ${number} · band ${number} to ${number} · score ${number}`
    expect(await text()).toMatch(
      new RegExp(
        `^${timeText(stepMs(step))}, 2 windows · value ${value} · ${isJudged ? judged : 'not judged'}$`,
      ),
    )
  }
  await plot.scrollIntoViewIfNeeded()
  const box = (await plot.boundingBox())!
  const y = box.y + box.height / 3
  const at = (share: number): [number, number] => [box.x + share * box.width, y]
  /** Within what a pixel is wide. */
  const expectNear = (told: string, share: number, fromStep = 0, toStep = lastStep): void => {
    const wantedMs = stepMs(fromStep + share * (toStep - fromStep))
    const slackMs = STEP_MS + (2 * (toStep - fromStep) * STEP_MS) / box.width
    expect(Math.abs(Date.parse(told.slice(0, 20)) - wantedMs)).toBeLessThanOrEqual(slackMs)
  }
  expect(await axis()).toEqual(whole)

  for (const share of [0.1, 0.5, 0.755]) {
    await page.mouse.move(...at(share))
    const told = await text()
    expectNear(told, share)
    await expectRead(Math.round((Date.parse(told.slice(0, 20)) - firstMs) / STEP_MS))
  }

  // A click is no drag; a drag to the left is one as well; the one before it is gone back to.
  await page.mouse.click(...at(0.5))
  expect(await axis()).toEqual(whole)
  for (const [from, to] of [
    [0.25, 0.5],
    [0.9, 0.4],
  ] as const) {
    await page.mouse.move(...at(from))
    await page.mouse.down()
    await page.mouse.move(...at((from + to) / 2))
    expect(await chart.locator('.selection').isVisible()).toBe(true)
    await page.mouse.move(...at(to))
    await page.mouse.up()
    expect(await chart.locator('.selection').isVisible()).toBe(false)
  }
  const quarter = (lastStep + 1) / 4
  const inner = await axis()
  expectNear(inner[0]!, 0.4, quarter, 2 * quarter)
  expectNear(inner[2]!, 0.9, quarter, 2 * quarter)
  expect(inner[1]).toBe('50 to 60')
  await page.mouse.move(...at(0.5))
  expectNear(await text(), 0.65, quarter, 2 * quarter)
  await page.mouse.dblclick(...at(0.5))
  const outer = await axis()
  expectNear(outer[0]!, 0.25)
  expectNear(outer[2]!, 0.5)
  await chart.locator('.back').click()
  expect(await axis()).toEqual(whole)
  expect(await chart.locator('.back').isVisible()).toBe(false)
  await page.mouse.move(0, 0)

  // By keys alone: from the chart's first step two on, three selected, closer, closer still, and back.
  for (const key of ['Home', 'ArrowRight', 'ArrowRight']) await plot.press(key)
  await expectRead(2)
  expect(await plot.getAttribute('aria-valuetext')).toBe(await text())
  for (let i = 0; i < 8; i++) await plot.press('Shift+ArrowRight')
  expect(await chart.locator('.selection').isVisible()).toBe(true)
  await plot.press('Enter')
  const selected = [timeText(stepMs(2)), '50 to 60', timeText(stepMs(10))]
  expect(await axis()).toEqual(selected)
  await plot.press('PageDown')
  await expectRead(9)
  await plot.press('+')
  expect(await axis()).toEqual([timeText(stepMs(7)), expect.any(String), timeText(stepMs(10))])
  await plot.press('-')
  expect(await axis()).toEqual(selected)
  await plot.press('ArrowLeft')
  await plot.press('Shift+ArrowLeft')
  await plot.press('Escape')
  expect(await axis()).toEqual(selected)
  await plot.press('Escape')
  expect(await axis()).toEqual(whole)
  await plot.blur()
  expect(await text()).toBe('')
}

const PLACES = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/opt/google/chrome/chrome',
]
const found = [process.env.CHROMIUM ?? '', ...PLACES].find((path) => path !== '' && existsSync(path))

describe('over the topic of a store', () => {
  const cleanups: (() => unknown)[] = []
  afterAll(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  test('the budget is for its windows and not for one more; without history an error says what there is', {
    timeout: 120_000,
  }, async () => {
    const dir = scratch(cleanups)
    const write = (name: string, where = ''): string => {
      mkdirSync(join(dir, name))
      return writePipeline(
        join(dir, name),
        `export default pipeline('cpu').from(topic('metrics'))${where}.groupBy('host').window(tumbling('1m'), { v: mean() })
          .detect('v', threshold({ above: 10 }))`,
      )
    }
    const pipeline = write('plain')
    const other = write('other', `.where({ host: 'b' })`)
    const rows = Array.from({ length: 10 }, (_, i) => `${1_767_225_600 + 60 * i},${i % 4 === 1 ? 20 : 5},a`)
    writeFileSync(join(dir, 'h.csv'), `time,value,host\n${rows.join('\n')}\n`)
    const store = join(dir, 'store')
    const millrace = async (...words: string[]): Promise<{ code: unknown; text: string }> => {
      const { exited, text } = launch(words, cleanups)
      return { code: await exited, text: text() }
    }
    const columns = ['--time', 'time', '--labels', 'host']
    const fed = await millrace('run', pipeline, join(dir, 'h.csv'), ...columns, '--data', store)
    expect(fed.code, fed.text).toBe(0)
    const out = join(dir, 'r.html')
    const over = (module: string, ...words: string[]): ReturnType<typeof millrace> =>
      millrace('backtest', module, '--store', store, '--out', out, ...words)
    // Ten minutes with an alarm in the 2nd, the 6th and the 10th; no score is above another.
    expect((await over(pipeline, '--budget', '3/600s')).text).toContain('it keeps the budget as it is')
    expect((await over(pipeline, '--budget', '3/601s')).text).not.toContain('it keeps the budget as it is')
    rmSync(out)
    const far = await over(pipeline, '--from', '2026-02-01T00:00:00Z')
    expect(far.text).toContain(`--from: no window of topic metrics of ${store} ends there`)
    expect(far.text).toContain(
      'Its 10 samples lie in windows from 2026-01-01 00:00:00Z to 2026-01-01 00:10:00Z',
    )
    const unmatched = await over(other)
    expect(unmatched.text).toContain(
      `topic metrics of ${store}: none of them is taken by pipeline cpu (got "10 samples"). It holds h: look at`,
    )
    expect([far.code, unmatched.code, existsSync(out)]).toEqual([1, 1, false])
    // What comes twice or late is said of a topic as it is of files.
    const again = ['time,value,host', '1767226140,5,a', '1767226150,5,a', '1767226150,6,a', '1767226149,7,a']
    writeFileSync(join(dir, 'again.csv'), `${again.join('\n')}\n`)
    const second = await millrace('run', pipeline, join(dir, 'again.csv'), ...columns, '--data', store)
    expect(second.code, second.text).toBe(0)
    const doubted = await over(pipeline)
    expect(doubted.text).toContain('1 of 14 samples have the time of the one before them in their series')
    expect(doubted.text).toContain('4 samples came too late for their windows')
  })
})

describe.skipIf(found === undefined)('the report in Chromium', () => {
  const cleanups: (() => unknown)[] = []
  let browser: Browser
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: found!, args: ['--no-sandbox'] })
    cleanups.push(() => browser.close())
  })
  afterAll(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  test('series are drawn with bands, alarms and labels; nothing is asked of anyone', {
    timeout: 120_000,
  }, async () => {
    const dir = scratch(cleanups)
    const pipeline = writePipeline(
      dir,
      `export default pipeline('cpu').from(topic('metrics')).groupBy('host').window(tumbling('1m'), { v: mean() }).detect('v', ewma())`,
    )
    const rows = Array.from({ length: 2_000 }, (_, i) => {
      const wave = 50 + ((i * 7) % 11)
      return ['a', '<b onclick=x>'].map(
        (host) => `${1_767_225_600 + 60 * i},${host === 'a' && i > 1_500 && i < 1_520 ? 400 : wave},${host}`,
      )
    })
    writeFileSync(join(dir, 'h.csv'), `time,value,host\n${rows.flat().join('\n')}\n`)
    writeFileSync(join(dir, 'l.csv'), 'from,to,host\n2026-01-02T00:00:00Z,2026-01-02T03:00:00Z,a\n')
    const data = ['--data', join(dir, 'h.csv'), '--time', 'time', '--labels', 'host']
    const out = join(dir, 'report.html')
    const more = ['--truth', join(dir, 'l.csv'), '--budget', '1/week', '--against', pipeline, '--out', out]
    const { child } = launch(['backtest', pipeline, ...data, ...more], cleanups)
    const code = child.exitCode ?? (await new Promise((resolve) => child.once('close', resolve)))
    expect(code).toBe(0)
    for (const options of [
      { viewport: { width: 1440, height: 900 } },
      { viewport: { width: 390, height: 844 }, colorScheme: 'dark' as const },
    ]) {
      const context = await browser.newContext(options)
      const page = await context.newPage()
      const complaints: string[] = []
      const url = pathToFileURL(out).href
      page.on('console', (message) => complaints.push(message.text()))
      page.on('pageerror', (error) => complaints.push(String(error)))
      page.on('request', (request) => {
        if (request.url() !== url) complaints.push(`asks ${request.url()}`)
      })
      await page.goto(url)
      expect(await page.locator('article.card svg .value').count()).toBe(2)
      expect(await page.locator('svg .band').count()).toBeGreaterThan(0)
      expect(await page.locator('svg .alarm').count()).toBeGreaterThan(0)
      expect(await page.locator('svg .label').count()).toBe(1)
      expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
      await page.keyboard.press('/')
      await page.keyboard.type('host="a"')
      expect(await page.locator('article.card:visible').count()).toBe(1)
      await page.locator('#find').fill('')
      await useChart(page, (i) => (i > 1_500 && i < 1_520 ? 400 : 50 + ((i * 7) % 11)))
      for (let theme = 0; theme < 2; theme++) {
        await page.evaluate(axe.source)
        const { violations } = (await page.evaluate('axe.run()')) as axe.AxeResults
        expect(violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')).toEqual([])
        await page.click('#theme')
      }
      expect(complaints).toEqual([])
      await context.close()
    }
  })
})
