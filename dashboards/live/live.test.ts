import { Script } from 'node:vm'
import { afterEach, describe, expect, it } from 'vitest'
import { send, start, stopAll } from '../../test/http/fixture.ts'
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
})
