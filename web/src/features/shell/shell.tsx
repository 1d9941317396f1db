"use client";

import { useQueryClient } from "@tanstack/react-query";
import { usePathname } from "next/navigation";
import { type ReactNode, useCallback, useEffect, useRef, useState } from "react";
import { HiMenu, HiSearch } from "react-icons/hi";
import { StartBackupProvider } from "@/features/backups/start-backup";
import { connectLive } from "@/features/live/socket";
import { DownloadsProvider } from "@/features/restores/downloads";
import { useSelectedVm } from "@/features/vms/selection";
import { VmContext } from "@/features/vms/vm-context";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Mark } from "@/ui/mark";
import { Sheet } from "@/ui/sheet";
import { useKept, useMediaQuery } from "@/ui/url-state";
import { CommandBar } from "./command-bar";
import { ConnectionBanner } from "./connection-banner";
import { LeftNavigation } from "./left-navigation";
import { MainContentArea } from "./main-content-area";
import { PanelHead, RightContextPanel } from "./right-context-panel";
import { sectionOf } from "./sections";
import { Shortcuts } from "./shortcuts";

/** The three panels: LeftNavigation → MainContentArea → RightContextPanel. Narrower screens fold the
 * navigation, then hang both sides over the page. */
export function Shell({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  useEffect(() => connectLive(client), [client]);

  const pathname = usePathname();
  const [vmId, selectVm] = useSelectedVm();
  const [navigation, setNavigation] = useKept("navigation", "open");
  const [panel, setPanel] = useKept("panel", "open");
  const [drawer, setDrawer] = useState(false);
  const [palette, setPalette] = useState(false);
  const wide = useMediaQuery("(min-width: 1280px)");
  const tablet = useMediaQuery("(min-width: 768px)");
  const roomy = useMediaQuery("(min-width: 1024px)");
  const folded = navigation === "folded" || !roomy;

  const openPalette = useCallback(() => setPalette(true), []);
  const foldNavigation = useCallback(
    () => setNavigation(navigation === "open" ? "folded" : "open"),
    [navigation, setNavigation],
  );
  const foldPanel = useCallback(
    () => setPanel(panel === "open" ? "folded" : "open"),
    [panel, setPanel],
  );
  useFocusOnNavigation(pathname);

  const leftProps = { onSearch: openPalette, selectedVm: wide ? vmId : null };
  return (
    <Providers>
      <a
        href="#content"
        className="fixed top-2 left-2 z-[80] -translate-y-16 rounded-md bg-accent-solid px-3 py-2 font-medium text-white focus:translate-y-0"
      >
        Skip to the content
      </a>
      <div className="flex h-dvh flex-col">
        <ConnectionBanner />
        <div className="flex min-h-0 flex-1">
          <aside
            aria-label="Navigation"
            className={cx(
              "hidden flex-none border-r border-line bg-surface transition-[width] duration-150 md:block",
              folded ? "w-14" : "w-56",
            )}
          >
            <LeftNavigation
              {...leftProps}
              collapsed={folded}
              {...(roomy ? { onCollapse: foldNavigation } : {})}
            />
          </aside>
          <div className="flex min-w-0 flex-1 flex-col">
            <div className="flex h-12 flex-none items-center gap-1 border-b border-line bg-surface px-2 md:hidden">
              <IconButton
                icon={HiMenu}
                label="Open the navigation"
                onClick={() => setDrawer(true)}
              />
              <Mark className="ml-1 size-6" />
              <span className="ml-1.5 flex-1 truncate font-semibold">
                {sectionOf(pathname)?.label ?? "Holdfast"}
              </span>
              <IconButton icon={HiSearch} label="Search and commands" onClick={openPalette} />
            </div>
            <MainContentArea>{children}</MainContentArea>
          </div>
          {wide && (
            <aside
              aria-label="Virtual machine"
              className={cx(
                "flex-none border-l border-line bg-surface transition-[width] duration-150",
                panel === "folded" || !vmId ? "w-12" : "w-80",
              )}
            >
              <RightContextPanel
                vmId={vmId}
                collapsed={panel === "folded"}
                onCollapse={foldPanel}
                onClear={() => selectVm(null)}
              />
            </aside>
          )}
        </div>
      </div>
      <Sheet
        open={drawer && !tablet}
        onClose={() => setDrawer(false)}
        side="left"
        label="Navigation"
      >
        <LeftNavigation
          {...leftProps}
          collapsed={false}
          onSearch={() => {
            setDrawer(false);
            openPalette();
          }}
          onNavigate={() => setDrawer(false)}
        />
      </Sheet>
      {!wide && (
        <Sheet
          open={vmId !== null}
          onClose={() => selectVm(null)}
          side={tablet ? "right" : "bottom"}
          label="Virtual machine"
        >
          <PanelHead onClear={() => selectVm(null)} />
          <div className="scroll-thin min-h-0 flex-1 overflow-y-auto">
            {vmId && <VmContext id={vmId} />}
          </div>
        </Sheet>
      )}
      <CommandBar open={palette} onClose={() => setPalette(false)} />
      <Shortcuts palette={openPalette} navigation={foldNavigation} panel={foldPanel} />
    </Providers>
  );
}

/** What goes on whatever page is shown. */
function Providers({ children }: { children: ReactNode }) {
  return (
    <DownloadsProvider>
      <StartBackupProvider>{children}</StartBackupProvider>
    </DownloadsProvider>
  );
}

/** After a navigation, screen readers and keyboards start at the new page's title. */
function useFocusOnNavigation(pathname: string) {
  const before = useRef(pathname);
  useEffect(() => {
    if (before.current === pathname) return;
    before.current = pathname;
    const frame = requestAnimationFrame(() =>
      document.querySelector<HTMLElement>("[data-page-title]")?.focus({ preventScroll: true }),
    );
    return () => cancelAnimationFrame(frame);
  }, [pathname]);
}
