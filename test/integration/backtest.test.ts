/** The report of a backtest in a real Chromium: no request, no complaint, both themes accessible, right on a phone. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import axe from 'axe-core'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { launch, scratch, writePipeline } from './process.ts'

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
